"""How far two readers agree, or one with himself: from blind readings only."""

from __future__ import annotations

from lib.anatomy.schemas import LabelSchema
from lib.stores import CaseStore
from lib.stores.blind_reads import TwoReadings
from lib.stores.hand_outs import DOUBLE_READ, REREAD
from scripts.evaluation.cases import LabelledCase, case_of
from scripts.evaluation.run import Evaluation, Results
from scripts.evaluation.sources import FileSource

NAMES = {DOUBLE_READ: "another reader", REREAD: "the same reader again"}


def readings_of(store: CaseStore, schema: LabelSchema) -> Results:
    """Compare every label with its blind second reading, which is what is "found"; by kind of reading.

    A label that corrects another one is no second reading: whoever made it saw the first.
    """
    pairs = [pair for pair in store.agreement(schema.task) if pair.second.task == schema.task]
    found = Results()
    for kind, name in NAMES.items():
        of_kind = [pair for pair in pairs if pair.kind == kind]
        if of_kind:
            source = FileSource(name, {pair.first.image_id: pair.second.path for pair in of_kind}, schema)
            results = Evaluation(schema=schema, sources=[source]).run(_case(store, pair, schema) for pair in of_kind)
            found.comparisons |= results.comparisons
            found.levels |= results.levels
            found.skipped += results.skipped
    return found


def _case(store: CaseStore, pair: TwoReadings, schema: LabelSchema) -> LabelledCase:
    """The first reading; of partial ones, the classes that both judge."""
    judged = [set(each.names if each.partial else schema.names) for each in (pair.first, pair.second)]
    both = tuple(name for name in schema.names if name in judged[0] & judged[1])
    return LabelledCase(
        name=pair.first.image_id,
        label=pair.first.path,
        image=case_of(store, pair.first).image,
        drawn=both,
    )

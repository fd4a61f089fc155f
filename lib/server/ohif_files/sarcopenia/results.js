// What a run or a saved label says in numbers.

import { list, make } from './dom.js';

const UNITS = { area_cm2: 'cm²', volume_cm3: 'cm³', mean_hu: 'HU', sd_hu: 'SD' };
const number = value => (value === null || value === undefined ? '–' : Number(value).toFixed(1));
// The server names the parameter of a request that a warning is about; here it is a field of the panel.
const plain = sentence => sentence.replace(/ \(params\.\w+\)/g, '');
const words = name => name.replaceAll('_', ' ');

export function measurementTable(regions) {
  const shown = Object.keys(UNITS).filter(name => Object.values(regions).some(region => name in region));
  const head = make('tr', {}, make('th'), ...shown.map(name => make('th', { textContent: UNITS[name] })));
  const rows = Object.entries(regions).map(([name, region]) =>
    make(
      'tr',
      {},
      make('th', { textContent: words(name) }),
      ...shown.map(each => make('td', { textContent: number(region[each]) }))
    )
  );
  return make('table', {}, head, ...rows);
}

const METHODS = {
  ensemble: 'all folds of the model together',
  single_fold: 'one fold of the model',
  landmarks: 'rules (no trained model yet)',
  thresholds: 'rules (no trained model yet)',
};

// Everything that an answer says, as nodes. `image`: the number of the image that it is about, as OHIF counts them, or
// `null`.
export function answerOf(params, image) {
  const { measurements, uncertainty, warnings } = params;
  const by = `By ${METHODS[params.method] ?? params.method}${params.model_version ? `, ${params.model_version}` : ''}`;
  const where = image === null ? '' : `; image ${image}${params.level ? `, ${params.level}` : ''}`;
  const calls = (measurements.calls ?? []).map(
    call => `${call.statement} (${words(call.cutoff)}: ${call.comparison} ${call.threshold})`
  );
  const indices = Object.entries(measurements.indices ?? {}).filter(([, value]) => value !== null);
  return [
    make('p', { textContent: `${by}${where}.` }),
    measurementTable(measurements.regions),
    ...indices.map(([name, value]) => make('p', { textContent: `${words(name)}: ${number(value)}` })),
    calls.length ? list(calls) : null,
    ...doubt(uncertainty),
    warnings.length ? make('div', { className: 'warnings' }, list(warnings.map(plain))) : null,
  ].filter(Boolean);
}

// The folds' disagreement, by class where the answer tells it; the answer of several models tells it by model.
function doubt(uncertainty) {
  const parts = Object.values(uncertainty.parts ?? { all: uncertainty });
  const classes = parts.flatMap(part => Object.entries(part.classes ?? {}));
  const of = uncertainty.by === 'cold start' ? 'Doubt of the rules' : 'Disagreement of the folds';
  const says = ([name, { dice, area_cm2: area }]) =>
    `${words(name)}: folds agree by Dice ${dice === null ? '–' : dice.toFixed(3)}` +
    (area ? `, ${number(area.range[0])} to ${number(area.range[1])} cm²` : '');
  return [
    make('p', {
      className: 'doubt',
      textContent: `${of}: ${Number(uncertainty.score).toFixed(3)} (0 is none, 1 is all)`,
    }),
    classes.length ? list(classes.map(says)) : null,
  ];
}

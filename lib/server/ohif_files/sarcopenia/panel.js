// The panel: the whole loop of an annotator, from the next case to the submitted label.

import { list, make, options } from './dom.js';
import { Grid } from './grid.js';
import { Labelmap, discardEdits, onEdit } from './labelmap.js';
import { mayLeave } from './leaving.js';
import { recall, remember } from './memory.js';
import { answerOf, measurementTable } from './results.js';
import * as server from './server.js';
import { TrainingPart } from './training.js';
import { uploader } from './upload.js';
import { activeSeries, imageShown, setSoftTissueWindow, showImage, viewportsOf } from './viewports.js';
import { readNifti, readNrrd, writeNrrd } from './volume_files.js';

const FOLDS = [
  ['ensemble', 'all folds together'],
  ['best', 'the best fold'],
  ...[0, 1, 2, 3, 4].map(n => [String(n), `fold ${n}`]),
];
// What the indices and cut-offs need to know; kept with the case.
const FACTS = [
  {
    name: 'sex',
    text: 'Sex',
    choices: [
      ['', 'not known'],
      ['F', 'female'],
      ['M', 'male'],
    ],
  },
  { name: 'height_m', text: 'Height (m)' },
  { name: 'weight_kg', text: 'Weight (kg)' },
  { name: 'age_years', text: 'Age' },
  {
    name: 'contrast',
    text: 'Contrast',
    choices: [
      ['', 'not known'],
      ['no', 'no'],
      ['yes', 'yes'],
    ],
  },
];
const SETTLE_MS = 100;

// The answers of this page, by the label that they went into: the panel may be folded away and come back.
const answers = new Map();
// The labels that were edited since.
const changed = new Set();
// Series whose window has been set; after that it is the annotator's.
const opened = new Set();

export class Panel {
  constructor(root, services) {
    this.services = services;
    this.root = root;
    this.series = null;
    this.work = Promise.resolve();
    this.build();
    this.listen();
    this.run(() => this.begin(), 'Connecting …');
  }

  // Building

  build() {
    const button = (name, textContent, act, saying) =>
      make('button', { type: 'button', name, textContent, onclick: () => this.run(act, saying) });
    const field = (text, node) => make('label', {}, make('span', { textContent: text }), node);
    const part = (title, ...nodes) => make('section', {}, make('h3', { textContent: title }), ...nodes);

    this.who = make('input', { name: 'who', value: recall('who'), placeholder: 'your name', autocomplete: 'off' });
    this.who.onchange = () => {
      remember('who', this.who.value.trim());
      this.run(() => this.readCase());
    };
    this.taskChoice = make('select', { name: 'task' });
    this.taskChoice.onchange = () => {
      remember('task', this.taskChoice.value);
      this.run(() => this.changeTask());
    };
    this.strategy = make('select', { name: 'strategy' });
    this.strategy.onchange = () => remember('strategy', this.strategy.value);
    this.reason = make('p', { className: 'reason' });
    this.fold = options(make('select', { name: 'fold' }), FOLDS, 'ensemble');
    this.slice = make('input', { name: 'image', placeholder: 'search for L3', inputMode: 'numeric', size: 6 });
    this.patient = make(
      'details',
      {},
      make('summary', { textContent: 'Patient' }),
      ...FACTS.map(fact => this.factField(fact, field))
    );
    this.sliceFields = field(
      'Image',
      make(
        'div',
        { className: 'beside' },
        this.slice,
        button('here', 'This one', () => this.takeImage())
      )
    );
    this.answer = make('div', { className: 'answer' });
    this.saved = make('div', { className: 'saved' });
    this.complete = make('input', { type: 'checkbox', name: 'complete' });
    this.title = make('strong');
    this.status = make('p', { className: 'status', role: 'status' });
    this.training = new TrainingPart(work => this.run(work));

    this.root.replaceChildren(
      make('link', { rel: 'stylesheet', href: new URL('panel.css', import.meta.url).href }),
      make('header', {}, this.title, this.status),
      part(
        'Case',
        field('Annotator', this.who),
        field('Task', this.taskChoice),
        field('Next by', this.strategy),
        this.reason,
        make(
          'div',
          { className: 'beside' },
          button('next', 'Next case', () => this.next(), 'Asking for the next case …'),
          button('skip', 'Skip', () => this.skip(), 'Giving the case back …')
        )
      ),
      part(
        'Segment',
        this.patient,
        field('Answered by', this.fold),
        this.sliceFields,
        make(
          'div',
          { className: 'beside' },
          button('run', 'Run', () => this.infer(), 'Segmenting …')
        ),
        this.answer
      ),
      part(
        'Submit',
        make(
          'label',
          { className: 'check' },
          this.complete,
          make('span', { textContent: 'What is not drawn is not there' })
        ),
        make(
          'div',
          { className: 'beside' },
          button('submit', 'Submit', () => this.submit(), 'Submitting …'),
          button('submit-next', 'Submit, next case', () => this.submitAndGoOn(), 'Submitting …')
        ),
        this.saved
      ),
      part('Model', this.training.node),
      part(
        'Add studies',
        uploader(id => this.run(() => this.goTo(id)))
      )
    );
  }

  factField({ name, text, choices }, field) {
    const node = choices
      ? options(make('select', { name }), choices, '')
      : make('input', { name, inputMode: 'decimal' });
    node.onchange = () => this.run(() => this.enterFact(name, node.value.trim()));
    return field(text, node);
  }

  listen() {
    const { viewportGridService: grid, cornerstoneViewportService: viewports } = this.services;
    const settle = () => {
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => this.run(() => this.follow()), SETTLE_MS);
    };
    const subscriptions = [
      grid.subscribe(grid.EVENTS.ACTIVE_VIEWPORT_ID_CHANGED, settle),
      grid.subscribe(grid.EVENTS.GRID_STATE_CHANGED, settle),
      viewports.subscribe(viewports.EVENTS.VIEWPORT_DATA_CHANGED, settle),
    ];
    const told = () => this.showState();
    onEdit.add(told);
    this.stop = () => {
      window.clearTimeout(this.timer);
      subscriptions.forEach(({ unsubscribe }) => unsubscribe());
      onEdit.delete(told);
    };
  }

  close() {
    this.stop();
    this.training.close();
  }

  // Does one thing after the other, and says what went wrong in the server's own words.
  run(act, saying = '') {
    this.work = this.work.then(async () => {
      if (saying) {
        this.say(saying);
        this.root.classList.add('busy');
      }
      try {
        await act();
        if (saying && this.status.textContent === saying) {
          this.say('');
        }
      } catch (error) {
        console.error(error);
        this.say(error.message, 'error');
      } finally {
        this.root.classList.remove('busy');
        this.showState();
      }
    });
    return this.work;
  }

  say(text, kind = '') {
    this.status.textContent = text;
    this.status.dataset.kind = kind;
  }

  showState() {
    const name = this.case?.id ?? 'No CT in the active viewport';
    this.title.textContent = this.labelmap?.edited ? `${name} (edited)` : name;
    this.root.dataset.ready = String(Boolean(this.labelmap));
    this.root.dataset.edited = String(Boolean(this.labelmap?.edited));
    if (this.labelmap?.edited) {
      changed.add(this.labelmap.id);
    }
    this.answer.dataset.changed = String(changed.has(this.labelmap?.id));
  }

  // The case on the screen

  async begin() {
    const { tasks, strategies } = await server.tasks();
    this.tasks = Object.fromEntries(tasks.map(task => [task.name, task]));
    options(
      this.taskChoice,
      tasks.map(({ name, description }) => [name, `${name}: ${description}`]),
      recall('task')
    );
    options(
      this.strategy,
      strategies.map(({ name, description }) => [name, description]),
      recall('strategy')
    );
    this.showTask();
    await this.follow();
  }

  get task() {
    return this.tasks[this.taskChoice.value];
  }

  get annotator() {
    const name = this.who.value.trim();
    if (!name) {
      this.who.focus();
      throw new Error('Say who you are first: it is kept with every label.');
    }
    return name;
  }

  // Takes up the series of the active viewport, and shows the label in every viewport of it.
  async follow() {
    const active = this.tasks && activeSeries(this.services);
    if (!active) {
      return;
    }
    const uid = active.displaySet.displaySetInstanceUID;
    this.viewportId = active.viewportId;
    if (uid !== this.series?.displaySetInstanceUID) {
      this.series = active.displaySet;
      this.labelmap = this.case = this.grid = null;
      [this.reason, this.answer, this.saved].forEach(node => node.replaceChildren());
      await this.readCase().catch(error => {
        this.series = null; // it is tried again when anything changes on the screen
        throw error;
      });
      this.grid = new Grid(this.case.grid);
    }
    await this.openLabel();
    if (!opened.has(uid)) {
      opened.add(uid);
      viewportsOf(this.services, this.series).forEach(id => setSoftTissueWindow(this.services, id));
      this.bringL3IntoView();
    }
  }

  // Beside everything else, since it takes seconds; whoever has begun to do something is not interrupted.
  async bringL3IntoView() {
    const { labelmap, viewportId } = this;
    const shown = imageShown(this.services, viewportId);
    const slice = await server.sliceOfL3(this.case.id, this.who.value.trim());
    const untouched =
      labelmap.id === this.labelmap?.id && !labelmap.edited && imageShown(this.services, viewportId) === shown;
    if (untouched && this.task.on_slice) {
      await this.jumpTo(slice);
    }
  }

  async readCase() {
    if (!this.series) {
      return;
    }
    this.case = await server.caseOf(this.series.SeriesInstanceUID, this.who.value.trim());
    const mine = this.case.hand_outs.find(({ task }) => task === this.task.name);
    this.reason.textContent = mine ? mine.reason : '';
    for (const { name } of FACTS) {
      const value = this.case.facts[name];
      this.patient.querySelector(`[name=${name}]`).value = { true: 'yes', false: 'no' }[value] ?? value ?? '';
    }
    this.showSaved();
  }

  async openLabel() {
    this.labelmap = null;
    const { services, series: displaySet, grid, task } = this;
    this.labelmap = await Labelmap.open({ services, displaySet, grid, task });
    for (const viewportId of viewportsOf(services, displaySet)) {
      await this.labelmap.showIn(viewportId);
    }
    this.showAnswer();
  }

  showTask() {
    this.sliceFields.hidden = !this.task.on_slice;
    this.training.follow(this.task);
  }

  async changeTask() {
    this.showTask();
    if (this.case) {
      await this.readCase();
      await this.openLabel();
    }
  }

  showAnswer() {
    const params = answers.get(this.labelmap.id);
    const image = params?.slice_index === null ? null : this.labelmap.numberOf(params?.slice_index);
    this.answer.replaceChildren(...(params ? answerOf(params, image) : []));
  }

  showSaved() {
    const labels = this.case.labels.filter(({ task }) => this.task.stored_as.includes(task));
    this.saved.replaceChildren(
      ...labels.map(({ task, revision, author, created, warnings }) =>
        make(
          'div',
          { className: 'revision' },
          make('span', {
            textContent: `${task}: revision ${revision} by ${author}, ${new Date(created).toLocaleString()}`,
          }),
          task === this.task.name
            ? make('button', {
                type: 'button',
                name: 'load',
                textContent: 'Load',
                onclick: () => this.run(() => this.load(), 'Loading …'),
              })
            : null,
          warnings.length ? list(warnings) : null
        )
      )
    );
  }

  // What the buttons do

  takeImage() {
    const shown = imageShown(this.services, this.viewportId);
    const number = this.needLabel().images.findIndex(image => image.shown === shown) + 1;
    this.sliceChosen(number);
    this.slice.value = String(number);
  }

  // The slice of the file that an image is, by its number as OHIF counts.
  sliceChosen(number) {
    const slice = this.needLabel().sliceOf(number);
    if (slice === null) {
      throw new Error('This is no slice of the case.');
    }
    return slice;
  }

  async enterFact(name, value) {
    if (!this.case) {
      throw new Error('There is no CT in the active viewport.');
    }
    const known = { yes: true, no: false }[value];
    await server.enterFact(this.case.id, name, known ?? value);
    await this.readCase();
    this.say('Kept with the case; run again to see what follows from it.', 'good');
  }

  needLabel() {
    if (!this.labelmap) {
      throw new Error('There is no CT in the active viewport.');
    }
    return this.labelmap;
  }

  mayReplace() {
    return !this.needLabel().edited || window.confirm('Replace what you have drawn for this task?');
  }

  async infer() {
    const { labelmap } = this;
    if (!this.mayReplace()) {
      return;
    }
    const wishes = { client_id: this.who.value.trim(), fold: this.fold.value };
    if (this.task.on_slice && this.slice.value.trim()) {
      wishes.slice_index = String(this.sliceChosen(Number(this.slice.value)));
    }
    const before = labelmap.fingerprint;
    const { params, file } = await server.infer(labelmap.task.name, this.case.id, wishes);
    if (labelmap.fingerprint !== before && !this.mayReplace()) {
      return; // it was drawn on while the server was at work
    }
    labelmap.write(await readNrrd(file, this.grid.voxels));
    answers.set(labelmap.id, params);
    changed.delete(labelmap.id);
    this.showAnswer();
    await this.jumpTo(params.slice_index);
  }

  async jumpTo(slice) {
    const number = slice === null ? null : this.labelmap.numberOf(slice);
    if (number) {
      await showImage(this.services, this.viewportId, this.labelmap.images[number - 1].shown);
    }
  }

  async load() {
    const { labelmap } = this;
    if (!this.mayReplace()) {
      return;
    }
    const voxels = await readNifti(await server.savedLabel(this.case.id, labelmap.task.name), this.grid.voxels);
    labelmap.write(voxels);
    answers.delete(labelmap.id);
    this.showAnswer();
    await this.jumpTo(labelmap.fullestSlice(voxels));
  }

  async submit() {
    const labelmap = this.needLabel();
    const { task, fingerprint } = labelmap;
    const params = answers.get(labelmap.id);
    const revision = () => this.case.labels.find(label => label.task === task.name)?.revision;
    const before = revision();
    await server.saveLabel(this.case.id, await writeNrrd(labelmap.read(), this.grid), {
      label_info: task.structures.map(({ name, id }) => ({ name, idx: id })),
      client_id: this.annotator,
      model: params ? task.name : '',
      ...(params?.model_version ? { model_version: params.model_version } : {}),
      ...(this.complete.checked ? { complete: true } : {}),
    });
    labelmap.settle(fingerprint); // whatever was drawn meanwhile is an edit
    this.say('Saved.', 'good');
    try {
      await this.readCase();
      // A blind reading is not the label of the case, whose numbers its reader must not see.
      if (revision() !== before) {
        const { measurements } = await server.measurements(this.case.id, task.name);
        this.saved.append(...measurements.map(({ regions }) => measurementTable(regions)));
      }
    } catch (error) {
      throw new Error(`The label is saved, but: ${error.message}`);
    }
  }

  async submitAndGoOn() {
    await this.submit();
    await this.next();
  }

  async next() {
    const who = this.annotator;
    if (mayLeave()) {
      await this.goToNext(who);
    }
  }

  async skip() {
    const who = this.annotator;
    if (!mayLeave()) {
      return;
    }
    if (this.case) {
      await server.giveBack(this.task.name, this.case.id, who).catch(error => {
        // A case that was opened from the list is in nobody's hands.
        if (error.status !== 404) {
          throw error;
        }
      });
    }
    await this.goToNext(who);
  }

  async goToNext(who) {
    const chosen = await server.nextCase(this.strategy.value, this.task.name, who);
    if (!chosen.id) {
      const { nothing_because: why } = await server.queue(this.task.name);
      throw new Error(why ?? 'There is no next case.');
    }
    this.leaveFor(chosen.id);
  }

  goTo(id) {
    if (mayLeave()) {
      this.leaveFor(id);
    }
  }

  leaveFor(id) {
    discardEdits(); // it was asked about
    window.location.assign(server.address(id));
  }
}

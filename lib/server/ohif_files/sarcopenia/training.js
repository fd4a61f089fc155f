// Retraining a task, and how far it has got.

import { make } from './dom.js';
import * as server from './server.js';

const EVERY_MS = 5000;

export class TrainingPart {
  // `run(work)` does something with the panel's own handling of refusals.
  constructor(run) {
    this.button = make('button', { type: 'button', textContent: 'Retrain', name: 'train' });
    this.button.onclick = () => run(() => this.begin());
    this.bar = make('progress', { hidden: true });
    this.said = make('p');
    this.node = make('div', {}, this.button, this.bar, this.said);
  }

  follow(task) {
    this.task = task;
    this.node.hidden = !task.trainable;
    this.said.textContent = '';
    this.bar.hidden = true;
    window.clearTimeout(this.timer);
    if (task.trainable) {
      return this.look();
    }
  }

  async begin() {
    await server.train(this.task.name);
    this.said.textContent = 'The training waits for its turn.';
    this.bar.hidden = false;
    this.bar.removeAttribute('value');
    this.timer = window.setTimeout(() => this.look({ begun: true }), EVERY_MS);
  }

  async look({ begun = false } = {}) {
    const task = this.task;
    let stats;
    try {
      stats = (await server.info()).train_stats?.[task.name] ?? {};
    } catch {
      stats = {}; // the next look may find the server again
    }
    if (this.closed || task !== this.task) {
      return;
    }
    const runs = 'epoch' in stats && !('total_time' in stats);
    if (runs) {
      this.bar.max = stats.total_epochs;
      this.bar.value = stats.epoch;
      this.said.textContent = `Epoch ${stats.epoch} of ${stats.total_epochs}, best Dice ${stats.best_metric}.`;
    } else if (stats.fault) {
      this.said.textContent = stats.fault;
    } else if (stats.version) {
      this.said.textContent = `The last training made ${stats.version} in ${stats.total_time}.`;
    }
    this.bar.hidden = !runs && !begun;
    if (runs || begun) {
      this.timer = window.setTimeout(() => this.look({ begun: begun && !runs }), EVERY_MS);
    }
  }

  close() {
    this.closed = true;
    window.clearTimeout(this.timer);
  }
}

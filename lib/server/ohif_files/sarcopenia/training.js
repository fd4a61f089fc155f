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
    this.said = make('p', { className: 'training' });
    this.node = make('div', {}, this.button, this.bar, this.said);
  }

  // Shows the trainings of a task from now on.
  follow(task) {
    this.task = task;
    this.awaited = undefined;
    this.said.textContent = '';
    this.node.hidden = !task.trainable;
    this.lookAgain(0);
  }

  async begin() {
    const { task } = this;
    const { retraining } = await server.info();
    await server.train(task.name);
    this.awaited = retraining.tasks[task.name].last?.ended ?? null; // until another one has ended
    this.lookAgain(0);
  }

  close() {
    window.clearTimeout(this.timer);
    this.task = null;
  }

  lookAgain(afterMs) {
    window.clearTimeout(this.timer);
    if (this.task?.trainable) {
      this.timer = window.setTimeout(() => this.look(), afterMs);
    }
  }

  async look() {
    const { task } = this;
    // A server that does not answer now may do so the next time.
    const info = await server.info().catch(() => null);
    if (task !== this.task) {
      return;
    }
    const goesOn = info === null || this.show(info);
    if (goesOn) {
      this.lookAgain(EVERY_MS);
    }
  }

  // Whether there is more to come.
  show({ train_stats: stats, retraining }) {
    const { labels_since_training: fresh, last } = retraining.tasks[this.task.name];
    const progress = stats[this.task.name] ?? {};
    const runs = retraining.running?.task === this.task.name;
    const waits = this.awaited !== undefined && (last?.ended ?? null) === this.awaited && !runs;
    this.bar.hidden = !runs && !waits;
    this.bar.removeAttribute('value');
    if (runs && 'epoch' in progress && !('total_time' in progress)) {
      this.bar.max = progress.total_epochs;
      this.bar.value = progress.epoch;
      this.said.textContent = `Epoch ${progress.epoch} of ${progress.total_epochs}, best Dice ${progress.best_metric}.`;
    } else if (runs) {
      this.said.textContent = 'The training prepares its data.';
    } else if (waits) {
      this.said.textContent = 'The training waits for its turn.';
    } else {
      const made = last
        ? `Last training: ${last.outcome}${last.version ? `, ${last.version}` : ''}. ${last.reason ?? ''} `
        : '';
      this.said.textContent = `${made}Labels since then: ${fresh}.`;
    }
    return runs || waits;
  }
}

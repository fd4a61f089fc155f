// Adding studies from the browser: DICOM files of any number, or a NIfTI or NRRD file as a case of its own.

import { make } from './dom.js';
import * as server from './server.js';

const VOLUME = /\.(nii|nii\.gz|nrrd)$/i;
// What goes into one request; a series of 300 slices of 512 x 512 has 150 MB.
const MOST_BYTES = 32e6;
const MOST_FILES = 100;

function batches(files) {
  const found = [[]];
  let bytes = 0;
  for (const file of files) {
    if (found.at(-1).length >= MOST_FILES || (bytes + file.size > MOST_BYTES && found.at(-1).length)) {
      found.push([]);
      bytes = 0;
    }
    found.at(-1).push(file);
    bytes += file.size;
  }
  return found.filter(batch => batch.length);
}

const LONGEST_COMMENT = 64;

// The two sequences of a STOW answer: what was stored, and what was refused and why.
function outcome({ told, warning }) {
  const stored = told['00081199']?.Value ?? [];
  const failed = told['00081198']?.Value ?? [];
  const series = stored.map(item => /\/series\/([\d.]+)/.exec(item['00081190']?.Value?.[0] ?? '')?.[1]);
  const comments = failed.map(item => item['00000902']?.Value?.[0] ?? 'An object was refused.');
  const reasons = warning && comments.some(text => text.length >= LONGEST_COMMENT) ? [warning] : comments;
  return { stored: stored.length, series: series.filter(Boolean), reasons };
}

// Sends everything; `onProgress(sent, total)` after every request. Returns how many were stored, the cases that can be
// opened, and the reasons of what was refused, each once.
export async function upload(files, onProgress) {
  const cases = new Set();
  const reasons = new Set();
  let stored = 0;
  let sent = 0;
  const volumes = files.filter(file => VOLUME.test(file.name));
  const work = [
    ...volumes.map(file => [file]),
    ...batches(files.filter(file => !VOLUME.test(file.name) && file.size > 0 && !file.name.startsWith('.'))),
  ];
  const total = work.flat().length;
  for (const batch of work) {
    try {
      if (VOLUME.test(batch[0].name)) {
        const added = await server.addImage(batch[0]);
        cases.add(added.image);
        stored += 1;
      } else {
        const told = outcome(await server.store(batch));
        stored += told.stored;
        told.series.forEach(each => cases.add(each));
        told.reasons.forEach(each => reasons.add(each));
      }
    } catch (error) {
      reasons.add(error.message);
    }
    sent += batch.length;
    onProgress(sent, total);
  }
  return { stored, total, cases: [...cases], reasons: [...reasons] };
}

// The part of the panel that does it. `open(case)` goes to a case.
export function uploader(open) {
  const said = make('div');
  const bar = make('progress', { hidden: true });
  const take = async input => {
    const files = [...input.files];
    input.value = '';
    if (!files.length) {
      return;
    }
    bar.hidden = false;
    bar.removeAttribute('value');
    said.replaceChildren();
    const { stored, total, cases, reasons } = await upload(files, (sent, all) => {
      bar.max = all;
      bar.value = sent;
    });
    bar.hidden = true;
    said.replaceChildren(
      make('p', { className: 'taken', textContent: `${stored} of ${total} files were taken in.` }),
      ...cases.map((id, n) =>
        make('button', {
          type: 'button',
          textContent: `Open ${cases.length > 1 ? `series ${n + 1}` : 'it'}`,
          onclick: () => open(id),
        })
      ),
      ...reasons.map(reason => make('p', { className: 'error', textContent: reason }))
    );
  };
  const input = (name, text, more) => {
    const field = make('input', { type: 'file', multiple: true, hidden: true, name, ...more });
    field.onchange = () => take(field);
    return [make('button', { type: 'button', textContent: text, onclick: () => field.click() }), field];
  };
  return make(
    'div',
    {},
    ...input('files', 'Files…'),
    ...input('folder', 'Folder…', { webkitdirectory: true }),
    bar,
    said
  );
}

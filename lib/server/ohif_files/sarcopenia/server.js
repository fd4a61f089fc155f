// What the panel asks of the server. A refusal of the server becomes an Error with its sentence.

async function answer(response) {
  if (response.ok) {
    return response;
  }
  const text = await response.text();
  let sentence = text;
  try {
    const { detail } = JSON.parse(text);
    sentence = typeof detail === 'string' ? detail : JSON.stringify(detail);
  } catch {
    // The server said it in plain text.
  }
  throw Object.assign(new Error(sentence || `The server answers ${response.status}.`), { status: response.status });
}

async function ask(path, given = {}) {
  let response;
  try {
    response = await fetch(path, given);
  } catch {
    throw new Error('The server cannot be reached.');
  }
  return answer(response);
}

const json = async (path, given) => (await ask(path, given)).json();
const body = value => ({ headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(value) });
const part = encodeURIComponent;

export const tasks = () => json('/annotate/tasks');

export const info = () => json('/info/');

// A case by its id or its SeriesInstanceUID.
export const caseOf = (name, who) => json(`/annotate/cases/${part(name)}?who=${part(who)}`);

export async function enterFact(id, name, value) {
  const form = new FormData();
  form.set('info', JSON.stringify({ [name]: value }));
  return ask(`/datastore/image/info?image=${part(id)}`, { method: 'PUT', body: form });
}

export const measurements = (id, task) => json(`/annotate/cases/${part(id)}/measurements/${part(task)}`);

export const queue = task => json(`/queue/${part(task)}`);

export const handOuts = async (task, id) => (await json(`/queue/${part(task)}/${part(id)}`)).hand_outs;

export const nextCase = (strategy, task, who) =>
  json(`/activelearning/${part(strategy)}`, { method: 'POST', ...body({ task, client_id: who }) });

export const giveBack = (task, id, who) =>
  json(`/queue/${part(task)}/${part(id)}?holder=${part(who)}`, { method: 'DELETE' });

export const address = id => `/open/${part(id)}`;

// A model's answer: `params`, and the NRRD as bytes.
export async function infer(task, id, wishes) {
  const form = new FormData();
  form.set('params', JSON.stringify({ ...wishes, result_extension: '.nrrd', result_dtype: 'uint8' }));
  const response = await ask(`/infer/${part(task)}?image=${part(id)}&output=all`, { method: 'POST', body: form });
  const parts = await response.formData();
  const params = parts.get('params');
  return {
    params: JSON.parse(typeof params === 'string' ? params : await params.text()),
    file: await parts.get('image').arrayBuffer(),
  };
}

// The slice of L3 in the order of the file; `null` where there is none, whatever the reason: a run will say it.
export async function sliceOfL3(id, who) {
  const form = new FormData();
  form.set('params', JSON.stringify({ client_id: who }));
  const path = `/infer/l3_slice?image=${part(id)}&output=json`;
  return (await json(path, { method: 'POST', body: form }).catch(() => ({ slice_index: null }))).slice_index;
}

export async function savedLabel(id, task) {
  return (await ask(`/datastore/label?label=${part(id)}&tag=${part(task)}`)).arrayBuffer();
}

export async function saveLabel(id, nrrd, params) {
  const form = new FormData();
  form.set('label', new File([nrrd], 'label.nrrd'));
  form.set('params', JSON.stringify(params));
  return json(`/datastore/label?image=${part(id)}`, { method: 'PUT', body: form });
}

export const train = task => json(`/train/${part(task)}`, { method: 'POST', ...body({}) });

// DICOM objects by STOW-RS: its answer says for each what became of it, in 64 characters, and `Warning` all of it.
export async function store(files) {
  const boundary = `sarcopenia-${crypto.getRandomValues(new Uint32Array(4)).join('')}`;
  const parts = files.flatMap(file => [`--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`, file, '\r\n']);
  const response = await fetch('/proxy/dicom/studies', {
    method: 'POST',
    headers: { 'Content-Type': `multipart/related; type="application/dicom"; boundary=${boundary}` },
    body: new Blob([...parts, `--${boundary}--\r\n`]),
  }).catch(() => {
    throw new Error('The server cannot be reached.');
  });
  // A refusal has the same form as an answer, with the reason for every object.
  const told = response.headers.get('Content-Type')?.startsWith('application/dicom+json')
    ? response
    : await answer(response);
  const warning = /^299 - "(.*)"$/.exec(response.headers.get('Warning') ?? '')?.[1] ?? '';
  return { told: await told.json(), warning };
}

export async function addImage(file) {
  const form = new FormData();
  form.set('file', file);
  return json(`/datastore/?image=${part(file.name.replace(/\.(nii\.gz|nii|nrrd)$/i, ''))}`, {
    method: 'PUT',
    body: form,
  });
}

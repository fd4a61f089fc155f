// The two kinds of volume files that go over the wire: NRRD, and the NIfTI in which the store keeps labels.

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function gzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The voxels of a label, first axis fastest. Its geometry is that of the image, so only their number is looked at.
export async function readNrrd(buffer, voxels) {
  const bytes = new Uint8Array(buffer);
  let end = 0;
  while (end + 1 < bytes.length && !(bytes[end] === 10 && bytes[end + 1] === 10)) {
    end++;
  }
  const header = new TextDecoder('latin1').decode(bytes.subarray(0, end));
  const field = name => new RegExp(`^${name}: *(.*?)\\r?$`, 'm').exec(header)?.[1];
  if (!/^(unsigned char|uint8|uint8_t|uchar)$/.test(field('type') ?? '')) {
    throw new Error(`The answer holds ${field('type')} where bytes were expected.`);
  }
  const data = bytes.subarray(end + 2);
  return checked(/^gz/.test(field('encoding') ?? '') ? await gunzip(data) : data, voxels);
}

export async function readNifti(buffer, voxels) {
  const packed = new Uint8Array(buffer);
  const bytes = packed[0] === 0x1f && packed[1] === 0x8b ? await gunzip(packed) : packed;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (view.getInt32(0, true) !== 348 || view.getInt16(70, true) !== 2) {
    throw new Error('The saved label is no NIfTI file of bytes.');
  }
  return checked(bytes.subarray(view.getFloat32(108, true)), voxels);
}

function checked(data, voxels) {
  if (data.length !== voxels) {
    throw new Error(`The label has ${data.length} voxels, its image ${voxels}.`);
  }
  return data;
}

// A label on the grid of its image (see grid.js) as a compressed NRRD. NRRD's space is RAS here, as the grid's.
export async function writeNrrd(voxels, grid) {
  const direction = axis => `(${[0, 1, 2].map(row => grid.affine[row][axis]).join(',')})`;
  const header = [
    'NRRD0004',
    'type: uint8',
    'dimension: 3',
    'space: right-anterior-superior',
    `sizes: ${grid.shape.join(' ')}`,
    `space directions: ${[0, 1, 2].map(direction).join(' ')}`,
    'kinds: domain domain domain',
    'encoding: gzip',
    `space origin: ${direction(3)}`,
  ].join('\n');
  return new Blob([`${header}\n\n`, await gzip(voxels)]);
}

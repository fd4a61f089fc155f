// Where the pixels of the images that OHIF shows lie among the voxels of the case's file.

// How far a pixel may lie from the middle of its voxel, in voxels: DICOM writes positions in 16 characters.
const TOLERANCE = 0.1;

const times = (matrix, [x, y, z]) => matrix.map(([a, b, c, d]) => a * x + b * y + c * z + (d ?? 0));

function inverse(affine) {
  const [[a, b, c, x], [d, e, f, y], [g, h, i, z]] = affine;
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const linear = [
    [(e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det],
    [(f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det],
    [(d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det],
  ];
  const shift = times(linear, [x, y, z]);
  return linear.map((row, n) => [...row, -shift[n]]);
}

export class Grid {
  // shape: voxels along each axis of the file; affine: 4 x 4, indices to RAS+ mm; axis: the one from foot to head.
  constructor({ shape, affine, axis }) {
    Object.assign(this, { shape, affine, axis });
    this.inverse = inverse(affine);
    this.strides = [1, shape[0], shape[0] * shape[1]];
    this.voxels = shape[0] * shape[1] * shape[2];
  }

  // Where an image lies: the voxel of its first pixel, and the steps from a column or row to the next, in the flat
  // array; `null` where its pixels are no voxels of the file. `plane` is cornerstone's imagePlaneModule, in LPS mm.
  place(plane) {
    const origin = plane.imagePositionPatient;
    const along = (direction, spacing) => origin.map((value, n) => value + direction[n] * spacing);
    const index = ([x, y, z]) => times(this.inverse, [-x, -y, z]);
    const first = index(origin);
    const start = first.map(Math.round);
    const column = index(along(plane.rowCosines, plane.columnPixelSpacing)).map((v, n) => v - first[n]);
    const row = index(along(plane.columnCosines, plane.rowPixelSpacing)).map((v, n) => v - first[n]);
    const size = [plane.columns, plane.rows];
    const drift = Math.max(
      ...first.map((v, n) => Math.abs(v - start[n])),
      ...[column, row].flatMap((step, m) => step.map(v => Math.abs(v - Math.round(v)) * size[m]))
    );
    const steps = [column, row].map(step => step.map(v => Math.round(v) || 0));
    const last = start.map((v, n) => v + steps[0][n] * (size[0] - 1) + steps[1][n] * (size[1] - 1));
    const inside = corner => corner.every((v, n) => v >= 0 && v < this.shape[n]);
    if (!(drift < TOLERANCE) || !inside(start) || !inside(last)) {
      return null;
    }
    const flat = vector => vector.reduce((sum, v, n) => sum + v * this.strides[n], 0);
    // An image that runs along the body shows many slices, and is none of them.
    const slice = steps.every(step => step[this.axis] === 0) ? start[this.axis] : null;
    return { start: flat(start), column: flat(steps[0]), row: flat(steps[1]), size, slice };
  }
}

// Calls `visit` with the pixel's and the voxel's number for every pixel of an image.
export function eachPixel({ start, column, row, size: [columns, rows] }, visit) {
  for (let r = 0, pixel = 0; r < rows; r++) {
    for (let c = 0, voxel = start + r * row; c < columns; c++, pixel++, voxel += column) {
      visit(pixel, voxel);
    }
  }
}

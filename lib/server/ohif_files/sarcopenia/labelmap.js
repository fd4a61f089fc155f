// A label that is drawn on in OHIF: one segmentation of cornerstone for each series and task. One for all tasks would
// not do: structures of two tasks may cover each other, and a run must not touch what was drawn for another task.

import { eachPixel } from './grid.js';

const { cache, metaData, eventTarget } = window.cornerstone;
const { segmentation: tools, Enums } = window.cornerstoneTools;
const LABELMAP = Enums.SegmentationRepresentations.Labelmap;
const CHANGED = Enums.Events.SEGMENTATION_DATA_MODIFIED;

export class Labelmap {
  // Takes up the label that was begun for this series and task, or begins an empty one.
  static async open({ services, displaySet, grid, task }) {
    const id = `${task.name} of ${displaySet.SeriesInstanceUID}`;
    if (!services.segmentationService.getSegmentation(id)) {
      const segments = Object.fromEntries(
        task.structures.map(({ name, id: segmentIndex }, n) => [
          segmentIndex,
          { segmentIndex, label: name, active: n === 0, locked: false, cachedStats: {} },
        ])
      );
      await services.segmentationService.createLabelmapForDisplaySet(displaySet, {
        segmentationId: id,
        label: task.name,
        segments,
      });
      const { imageIds, referencedImageIds } =
        services.segmentationService.getSegmentation(id).representationData[LABELMAP];
      settled.delete(id);
      edited.delete(id);
      imagesOf.set(
        id,
        imageIds.map((imageId, n) => ({ imageId, shown: referencedImageIds[n] }))
      );
    }
    const labelmap = new Labelmap({ services, id, grid, task });
    if (labelmap.images.every(({ place }) => !place)) {
      throw new Error('The pixels that OHIF shows are not the voxels of the case, so a label cannot be drawn here.');
    }
    return labelmap;
  }

  constructor({ services, id, grid, task }) {
    Object.assign(this, { services, id, grid, task });
    this.images = imagesOf.get(id).map(({ imageId, shown }) => ({
      imageId,
      shown,
      place: grid.place(metaData.get('imagePlaneModule', shown)),
    }));
  }

  get edited() {
    return edited.has(this.id);
  }

  // A number that stands for what is drawn.
  get fingerprint() {
    return fingerprint(this.id);
  }

  // Says what edits are told from: what is drawn now, or was when it had this fingerprint.
  settle(than = this.fingerprint) {
    settled.set(this.id, than);
    edited[this.fingerprint === than ? 'delete' : 'add'](this.id);
  }

  // Shows this label in a viewport, with the colours of the schema, and no other task's label.
  async showIn(viewportId) {
    const { segmentationService } = this.services;
    const shown = segmentationService.getSegmentationRepresentations(viewportId);
    for (const { segmentationId } of shown) {
      if (imagesOf.has(segmentationId) && segmentationId !== this.id) {
        segmentationService.removeSegmentationRepresentations(viewportId, { segmentationId });
      }
    }
    if (!shown.some(({ segmentationId }) => segmentationId === this.id)) {
      await segmentationService.addSegmentationRepresentation(viewportId, { segmentationId: this.id, type: LABELMAP });
    }
    for (const { id, color } of this.task.structures) {
      segmentationService.setSegmentColor(viewportId, this.id, id, [...color, 255]);
    }
    segmentationService.setActiveSegmentation(viewportId, this.id);
  }

  // Puts a label in place of what was drawn. `voxels`: in the order of the file. Images that are not among the voxels
  // of the file, such as a slice that came twice, stay empty.
  write(voxels) {
    for (const { imageId, place } of this.images) {
      const pixels = pixelsOf(imageId);
      pixels.fill(0);
      if (place) {
        eachPixel(place, (pixel, voxel) => {
          pixels[pixel] = voxels[voxel];
        });
      }
    }
    this.settle();
    tools.triggerSegmentationEvents.triggerSegmentationDataModified(this.id);
  }

  // The voxels in the order of the file.
  read() {
    const voxels = new Uint8Array(this.grid.voxels);
    for (const { imageId, place } of this.images) {
      const pixels = pixelsOf(imageId);
      if (place) {
        eachPixel(place, (pixel, voxel) => {
          voxels[voxel] = pixels[pixel];
        });
      } else if (pixels.some(Boolean)) {
        throw new Error(
          'You have drawn on an image that is no slice of the case (it may have come twice); erase it there.'
        );
      }
    }
    return voxels;
  }

  // Which of the file's slices an image is, by its number as OHIF counts them (from 1); `null` for none.
  sliceOf(number) {
    return this.images[number - 1]?.place?.slice ?? null;
  }

  // The other way round.
  numberOf(slice) {
    return this.images.findIndex(({ place }) => place?.slice === slice) + 1 || null;
  }

  // The slice of the file on which most is labelled, or `null` for an empty label.
  fullestSlice(voxels) {
    const counts = new Map();
    for (const { place } of this.images) {
      if (place && place.slice !== null) {
        let count = 0;
        eachPixel(place, (_, voxel) => {
          count += voxels[voxel] > 0;
        });
        counts.set(place.slice, count);
      }
    }
    const [slice, most] = [...counts].reduce((best, each) => (each[1] > best[1] ? each : best), [null, 0]);
    return most ? slice : null;
  }
}

// The images of each label, by the segmentation's id. OHIF forgets them when it makes a volume of them.
const imagesOf = new Map();
const edited = new Set();
const settled = new Map();
const pixelsOf = imageId => cache.getImage(imageId).voxelManager.getScalarData();

// A number that stands for all that is drawn; 0 for nothing. OHIF says that data changed also when they did not.
function fingerprint(id) {
  let sum = 0;
  for (const { imageId } of imagesOf.get(id)) {
    for (const value of pixelsOf(imageId)) {
      sum = (Math.imul(sum, 31) + value) | 0;
    }
  }
  return sum;
}

eventTarget.addEventListener(CHANGED, ({ detail: { segmentationId: id } }) => {
  if (imagesOf.has(id) && !edited.has(id) && fingerprint(id) !== (settled.get(id) ?? 0)) {
    edited.add(id);
    onEdit.forEach(tell => tell());
  }
});

// Called after every stroke.
export const onEdit = new Set();

export const anyEdited = () => edited.size > 0;

// After the annotator agreed to leave them behind.
export const discardEdits = () => edited.clear();

// To be called when the mode is left: OHIF drops the segmentations then.
export function forgetAll() {
  imagesOf.clear();
  settled.clear();
  edited.clear();
}

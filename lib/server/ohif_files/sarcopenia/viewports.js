// What is on the screen, and moving it.

const WINDOW_WIDTH = 400;
const WINDOW_LEVEL = 50;

// The series that the active viewport shows, if it is a CT: `{ viewportId, displaySet }` or `null`.
export function activeSeries({ viewportGridService, displaySetService }) {
  const { viewports, activeViewportId } = viewportGridService.getState();
  const uids = viewports.get(activeViewportId)?.displaySetInstanceUIDs ?? [];
  const displaySet = uids
    .map(uid => displaySetService.getDisplaySetByUID(uid))
    .find(each => each?.Modality === 'CT' && each.imageIds?.length);
  return displaySet ? { viewportId: activeViewportId, displaySet } : null;
}

// The viewports that show a series and are ready to be drawn in.
export function viewportsOf({ viewportGridService, cornerstoneViewportService }, displaySet) {
  return [...viewportGridService.getState().viewports.values()]
    .filter(({ displaySetInstanceUIDs }) => displaySetInstanceUIDs?.includes(displaySet.displaySetInstanceUID))
    .map(({ viewportId }) => viewportId)
    .filter(viewportId => cornerstoneViewportService.getCornerstoneViewport(viewportId)?.getImageIds?.()?.length);
}

export function setSoftTissueWindow({ cornerstoneViewportService }, viewportId) {
  const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportId);
  const { lower, upper } = window.cornerstone.utilities.windowLevel.toLowHighRange(WINDOW_WIDTH, WINDOW_LEVEL);
  viewport.setProperties({ voiRange: { lower, upper } });
  viewport.render();
}

export function imageShown({ cornerstoneViewportService }, viewportId) {
  return cornerstoneViewportService.getCornerstoneViewport(viewportId)?.getCurrentImageId?.() ?? null;
}

// Brings an image into view: as the image itself in a stack, else by the middle of it.
export async function showImage({ cornerstoneViewportService }, viewportId, imageId) {
  const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportId);
  if (viewport instanceof window.cornerstone.StackViewport) {
    await window.cornerstone.utilities.jumpToSlice(viewport.element, {
      imageIndex: viewport.getImageIds().indexOf(imageId),
    });
    return;
  }
  const plane = window.cornerstone.metaData.get('imagePlaneModule', imageId);
  const middle = plane.imagePositionPatient.map(
    (value, n) =>
      value +
      (plane.rowCosines[n] * plane.columnPixelSpacing * plane.columns) / 2 +
      (plane.columnCosines[n] * plane.rowPixelSpacing * plane.rows) / 2
  );
  viewport.jumpToWorld(middle);
}

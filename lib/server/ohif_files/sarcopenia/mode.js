// The mode: OHIF's own Segmentation mode, with its tools to the left and our panel to the right.

import { PANEL } from './extension.js';
import { forgetAll } from './labelmap.js';
import { guardLeaving } from './leaving.js';

const TOOLS = '@ohif/extension-cornerstone.panelModule.panelSegmentationWithTools';
const SERIES = '@ohif/extension-default.panelModule.seriesList';

// The schema says which segments there are: what OHIF lets one add or rename besides would be refused by the store.
const FIXED_SEGMENTS = [
  { id: 'PanelSegmentation.disableEditing', disableEditing: true },
  { id: 'PanelSegmentation.showAddSegment', showAddSegment: false },
];

function layoutOf(route) {
  return async (...given) => {
    const layout = await route.layoutTemplate(...given);
    return { ...layout, props: { ...layout.props, leftPanels: [TOOLS, SERIES], rightPanels: [PANEL] } };
  };
}

async function modeFactory({ loadModules }) {
  const [segmentation] = await loadModules(['@ohif/mode-segmentation']);
  const stock = await segmentation.modeFactory({ modeConfiguration: {} });
  let unguard = () => {};
  return {
    ...stock,
    id: 'sarcopenia',
    routeName: 'sarcopenia',
    displayName: 'Sarcopenia',
    onModeEnter: given => {
      unguard = guardLeaving();
      given.servicesManager.services.customizationService.addModeCustomizations(FIXED_SEGMENTS);
      return stock.onModeEnter(given);
    },
    onModeExit: given => {
      unguard();
      forgetAll();
      return stock.onModeExit(given);
    },
    routes: stock.routes.map(route => ({ ...route, path: 'sarcopenia', layoutTemplate: layoutOf(route) })),
    isValidMode: ({ modalities }) => ({
      valid: modalities.split('\\').includes('CT'),
      description: 'Body composition is measured on CT.',
    }),
  };
}

export default { id: 'sarcopenia', modeFactory };

// The extension: it offers the panel, and hands OHIF's services to it.

import './back_button.js';

export const EXTENSION = 'sarcopenia';
export const PANEL = `${EXTENSION}.panelModule.annotate`;

// What React calls an element. React itself is not reachable from here, and a `div` is all that is needed of it.
function element(type, props, ref) {
  return { $$typeof: Symbol.for('react.element'), type, key: null, ref, props, _owner: null };
}

function getPanelModule({ servicesManager }) {
  let shown = Promise.resolve(null);
  // The same function every time, or React would take the panel down and put it up again whenever it renders. The panel
  // needs cornerstone, which is not there yet when OHIF imports this module.
  const mount = node => {
    shown = shown.then(async panel => {
      panel?.close();
      if (!node) {
        return null;
      }
      const { Panel } = await import('./panel.js');
      return new Panel(node, servicesManager.services);
    });
  };
  const component = () => element('div', { className: 'sarcopenia' }, mount);
  return [{ name: 'annotate', iconName: 'tab-segmentation', iconLabel: 'Sarcopenia', label: 'Sarcopenia', component }];
}

export default { id: EXTENSION, getPanelModule };

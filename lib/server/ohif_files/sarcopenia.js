// The Sarcopenia mode and its panel. OHIF imports modules by their address, so no build is needed.
window.config.extensions.push('/ohif/sarcopenia/extension.js');
window.config.modes.push('/ohif/sarcopenia/mode.js');

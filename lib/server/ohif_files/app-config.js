// What OHIF reads before it starts. Every other file *.js beside this one is sent behind it, in the order of the names,
// and may add to window.config.extensions and window.config.modes.

// MONAI Label's panel takes this cookie for its server, and port 8000 without it; browsers keep one for all ports of a host.
document.cookie = `MONAILABEL_SERVER_URL=${window.location.origin}/; path=/; SameSite=Strict`;

window.config = {
  routerBasename: '/ohif/',
  showStudyList: true,
  extensions: [],
  modes: [],
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  defaultDataSourceName: 'dicomweb',
  useSharedArrayBuffer: 'FALSE',
  investigationalUseDialog: { option: 'never' },
  maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'dicomweb',
      configuration: {
        friendlyName: 'Sarcopenia Label',
        name: 'sarcopenia-label',
        wadoUriRoot: '/proxy/dicom',
        qidoRoot: '/proxy/dicom',
        wadoRoot: '/proxy/dicom',
        qidoSupportsIncludeField: true,
        supportsReject: false,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: true,
        supportsWildcard: true,
        dicomUploadEnabled: true,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};

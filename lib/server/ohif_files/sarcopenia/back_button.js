// The browser's back button asks before it leaves. OHIF's router listens to the same event and acts at once, so this module
// has to listen before it does: it is imported with the extension, before the router is there.

let stay = null;

// `ask()` says whether to leave; `null` asks no more.
export function askBeforeBack(ask) {
  stay = ask && { ask, href: window.location.href };
}

window.addEventListener(
  'popstate',
  event => {
    if (stay && !stay.ask()) {
      event.stopImmediatePropagation();
      window.history.pushState(window.history.state, '', stay.href);
    }
  },
  true
);

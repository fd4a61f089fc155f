// Leaving asks first where there are edits that were not submitted: closing the tab, OHIF's way back to the studies,
// the browser's back button, and opening another case. OHIF's router cannot be told to ask, so its events are caught
// before it.

import { askBeforeBack } from './back_button.js';
import { anyEdited } from './labelmap.js';

const QUESTION = 'You have edits that are not submitted. Leave them behind?';

// Whether to go on.
export const mayLeave = () => !anyEdited() || window.confirm(QUESTION);

export function guardLeaving() {
  const unload = event => {
    if (anyEdited()) {
      event.preventDefault();
    }
  };
  const click = event => {
    if (event.target.closest?.('[data-cy="return-to-work-list"]') && !mayLeave()) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  };
  window.addEventListener('beforeunload', unload);
  window.addEventListener('click', click, true);
  askBeforeBack(mayLeave);
  return () => {
    window.removeEventListener('beforeunload', unload);
    window.removeEventListener('click', click, true);
    askBeforeBack(null);
  };
}

// Making elements. Text is always set as text, never as HTML, so nothing that comes from a file can act.

export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'data') {
      Object.assign(node.dataset, value);
    } else {
      node[name] = value;
    }
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

export function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, text]) => make('option', { value, textContent: text })));
  if (choices.some(([value]) => value === chosen)) {
    select.value = chosen;
  }
  return select;
}

export function list(items) {
  return make('ul', {}, ...items.map(item => make('li', { textContent: item })));
}

// What this browser remembers of an annotator.

const KEY = name => `sarcopenia.${name}`;

export const recall = (name, otherwise = '') => window.localStorage.getItem(KEY(name)) ?? otherwise;

export const remember = (name, value) => window.localStorage.setItem(KEY(name), value);

// Creates elements; content is always text, never markup.

export const $ = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) created.setAttribute(key, value);
  }
  created.append(...children.filter((child) => child !== null && child !== undefined));
  return created;
}

// Shows the named elements and hides the others.
export function show(all, ...shown) {
  for (const id of all) $(id).hidden = !shown.includes(id);
}

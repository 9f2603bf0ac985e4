// The reference at "/docs", built from openapi.json: every route with its body, its answer and a form to try it.

import { request, send } from "./api.js";
import { $, element } from "./dom.js";

const JSON_TYPE = "application/json";
const pretty = (value) => JSON.stringify(value, null, 2);

// A schema in a word or two, references by their names.
function kindOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  const kinds = schema.anyOf ?? schema.oneOf;
  if (kinds) return kinds.filter((one) => one.type !== "null").map(kindOf).join(" or ") || "null";
  if (schema.type === "array") return `list of ${kindOf(schema.items ?? {})}`;
  if (schema.type === "object" && schema.additionalProperties) return `object of ${kindOf(schema.additionalProperties)}`;
  return schema.type ?? "anything";
}

function fields(api, schema) {
  const named = schema.$ref ? api.components.schemas[kindOf(schema)] : schema;
  const required = new Set(named.required ?? []);
  return element(
    "dl",
    { class: "fields" },
    ...Object.entries(named.properties ?? {}).map(([name, member]) =>
      element(
        "div",
        {},
        element("dt", {}, name),
        element(
          "dd",
          {},
          element("span", { class: "kind" }, kindOf(member) + (required.has(name) ? ", always" : "")),
          ...coded(member.description ? ` ${member.description}` : ""),
        ),
      ),
    ),
  );
}

// The fields of a schema, and of every schema that it is made of.
function described(api, schema) {
  const parts = [...partsOf(api, schema)].filter((name) => name !== kindOf(schema));
  const named = parts.map((name) => [element("h3", {}, name), fields(api, { $ref: `#/${name}` })]);
  return [fields(api, schema), ...named.flat()];
}

function partsOf(api, schema, found = new Set()) {
  for (const [, name] of JSON.stringify(schema).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
    if (!found.has(name)) partsOf(api, api.components.schemas[name], found.add(name));
  }
  return found;
}

// Text between backticks is code.
function coded(words) {
  return words.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

function fold(title, ...children) {
  return element("details", { class: "fold" }, element("summary", {}, title), ...children);
}

function schemasOf(api, content) {
  const schema = content?.[JSON_TYPE]?.schema;
  return !schema ? [] : (schema.anyOf ?? [schema]);
}

function answersOf(api, operation) {
  const good = schemasOf(api, operation.responses["200"].content);
  const folds = good.filter((one) => one.$ref).map((one) => fold(`Answer: ${kindOf(one)}`, ...described(api, one)));
  const bad = Object.entries(operation.responses).filter(([status]) => status !== "200");
  const list = element("dl", { class: "fields" });
  for (const [status, response] of bad) {
    list.append(element("div", {}, element("dt", {}, status), element("dd", {}, response.description)));
  }
  return [...folds, fold("Problems", list)];
}

function tryForm(path, method, operation) {
  const id = operation.operationId;
  const form = element("form", { class: "try", "aria-label": `Try ${method} ${path}` });
  const inputs = (operation.parameters ?? []).map((parameter) => variableField(form, id, parameter));
  const body = operation.requestBody ? bodyField(form, id, operation.requestBody) : null;
  const status = element("p", { class: "muted small", role: "status" });
  const shown = element("pre", { tabindex: "0", "aria-label": "Answer" });
  shown.hidden = true;
  form.append(
    element("div", { class: "actions" }, element("button", { type: "submit", class: "quiet" }, "Send"), status),
    shown,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const filled = inputs.reduce((url, [name, field]) => url.replace(`{${name}}`, encodeURIComponent(field.value)), path);
    await tryOut(filled, method, body?.value, status, shown);
  });
  return form;
}

function variableField(form, id, parameter) {
  const field = element("input", { id: `${id}-${parameter.name}`, value: parameter.schema.examples?.[0] ?? "" });
  form.append(element("label", { for: field.id }, parameter.name), field);
  return [parameter.name, field];
}

function bodyField(form, id, requestBody) {
  const field = element("textarea", { id: `${id}-body`, rows: "6", spellcheck: "false" });
  field.value = pretty(requestBody.content[JSON_TYPE].example ?? {});
  form.append(element("label", { for: field.id }, "Body"), field);
  return field;
}

async function tryOut(path, method, body, status, shown) {
  status.textContent = "Sending …";
  const start = performance.now();
  try {
    const reply = await send(path, body, undefined, method);
    const words = await reply.text();
    status.textContent = `${reply.status} in ${Math.round(performance.now() - start)} ms`;
    shown.textContent = /json/.test(reply.headers.get("Content-Type")) ? pretty(JSON.parse(words)) : words;
    shown.hidden = false;
  } catch (error) {
    status.textContent = error.message;
  }
}

function route(api, path, method, operation) {
  const body = schemasOf(api, operation.requestBody?.content)[0];
  return element(
    "section",
    { class: "route", "aria-labelledby": operation.operationId },
    element("h2", { id: operation.operationId }, element("span", { class: "method" }, method), " ", path),
    element("p", {}, ...coded(`${operation.summary}.`)),
    operation.description ? element("p", { class: "muted" }, ...coded(operation.description)) : null,
    tryForm(path, method, operation),
    body ? fold(`Body: ${kindOf(body)}`, ...described(api, body)) : null,
    ...answersOf(api, operation),
  );
}

async function start() {
  const api = await request("/openapi.json");
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => [path, method.toUpperCase(), operation]),
  );
  const first = (item) => Object.values(item)[0].operationId;
  $("contents").append(...Object.entries(api.paths).map(([path, item]) => element("a", { href: `#${first(item)}` }, path)));
  $("routes").replaceChildren(...all.map(([path, method, operation]) => route(api, path, method, operation)));
}

if (location.hash === "#language-model") $("language-model-fold").open = true;

start().catch((error) => {
  $("loading").textContent = error.message;
});

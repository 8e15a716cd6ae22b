// JSON schema of a JobSpec as fields of a form. Pure: no page, no request.

/** Follows a $ref of the same document. */
function resolved(schema, root) {
  return schema.$ref ? resolved(root.$defs[schema.$ref.split("/").pop()], root) : schema;
}

/** The parts of a schema that may be null or one of several, also of several in several: without null, resolved. */
function members(schema, root) {
  const parts = schema.anyOf ?? schema.oneOf;
  if (!parts) return schema.type === "null" ? [] : [schema];
  return parts.flatMap((part) => members(resolved(part, root), root));
}

/**
 * One field out of the schema of a property:
 * {name, path, kind, help, fallback, optional, choices, min, max, minLength, items}
 * kind: text, number, integer, choice, flag, pair, list, several (of choices), object, or union (of objects discriminated by `name`).
 */
export function fieldOf(path, property, root) {
  const own = resolved(property, root);
  const parts = members(own, root);
  const nullable = (own.anyOf ?? own.oneOf ?? []).some((part) => part.type === "null");
  const [inner] = parts;
  const shared = {
    path, name: path.split(".").pop(), nullable, fallback: property.default ?? own.default,
    help: property.description ?? own.description ?? inner.description ?? "",
  };
  const objects = parts.filter((part) => part.properties);
  if (objects.length > 1) return { ...shared, kind: "union", variants: objects.map((part) => variant(path, part, root)) };
  const word = parts.find((part) => part.enum);
  const rest = parts.filter((part) => !part.properties);
  // A fixed word or an object, such as `views.second`: the form offers the object.
  const isFixed = rest.length > 0 && rest.every((part) => part.const !== undefined);
  // A word or number, or an object, such as `views.normalize`: the form offers the words or numbers.
  if (objects.length === 1 && rest.length && !isFixed) return { ...shared, ...scalar(word ? [word] : rest) };
  if (objects.length === 1) return { ...shared, kind: "object", fields: fieldsOf(objects[0], root, path), title: inner.description };
  const kinds = parts.length === 1 ? namesIn(inner, root) : [];
  if (kinds.length) return { ...shared, kind: "several", choices: kinds, named: true };
  return { ...shared, ...scalar(parts) };
}

/** The names of the objects that an array may hold, such as pretexts; none for other arrays. */
function namesIn(schema, root) {
  if (schema.type !== "array" || !schema.items) return [];
  return members(resolved(schema.items, root), root).filter((part) => part.properties?.name).map((part) => part.properties.name.const ?? part.properties.name.default);
}

function variant(path, part, root) {
  return { name: part.properties.name.const ?? part.properties.name.default, help: part.description, fields: fieldsOf(part, root, path) };
}

function scalar(parts) {
  const [inner] = parts;
  const limits = {
    min: inner.minimum ?? inner.exclusiveMinimum, max: inner.maximum ?? inner.exclusiveMaximum,
    maxLength: inner.maxLength, pattern: inner.pattern,
  };
  if (inner.enum) return { kind: "choice", choices: inner.enum };
  // A word or a number, such as auto or 3: anything but a number is kept as text.
  if (inner.const !== undefined && parts.length > 1) return { kind: "number" };
  if (inner.const !== undefined) return { kind: "fixed", constant: inner.const };
  // True, false or a number, such as `method.freeze`.
  if (inner.type === "boolean" && parts.length > 1) return { kind: "number" };
  if (inner.type === "boolean") return { kind: "flag" };
  if (inner.type === "integer" || inner.type === "number") return { kind: inner.type, ...limits };
  if (inner.type === "array" && inner.items?.enum) return { kind: "several", choices: inner.items.enum };
  if (inner.type === "array") return { kind: inner.prefixItems || inner.maxItems === 2 ? "pair" : "list" };
  if (inner.type === "object") return { kind: "map" };
  return { kind: "text", ...limits };
}

/** Every field of an object, in the schema's order; constants are skipped. */
export function fieldsOf(schema, root = schema, prefix = "") {
  return Object.entries(schema.properties)
    .map(([name, property]) => fieldOf(prefix ? `${prefix}.${name}` : name, property, root))
    .filter((field) => field.kind !== "fixed" && field.kind !== "map");
}

/** {"optim.lr": 0.1} -> {optim: {lr: 0.1}} */
export function nested(values) {
  const spec = {};
  for (const [path, value] of values) {
    const names = path.split(".");
    const last = names.pop();
    const home = names.reduce((node, name) => (node[name] ??= {}), spec);
    const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
    home[last] = isObject ? { ...home[last], ...value } : value;
  }
  return spec;
}

/** "#/optim/lr" -> "optim.lr" */
export const pathOf = (pointer) => pointer.replace(/^#\//, "").split("/").map((part) => part.replace(/~1/g, "/").replace(/~0/g, "~")).join(".");

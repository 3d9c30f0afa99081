// One role file: Markdown with front matter. ROLE_FILE_SCHEMA.md says what may be in it.

export const SECTIONS = [
  "Mission",
  "Allowed actions",
  "Forbidden actions",
  "One-cycle workflow",
  "Expected final report",
  "Coordination behavior",
];

export const THINKING = ["off", "minimal", "low", "medium", "high", "xhigh"] as const;
export type Thinking = (typeof THINKING)[number];

export type Value = string | string[];

export interface Role {
  name: string;
  description: string;
  icon?: string;
  thinking?: Thinking;
  /** Absent: the tools of the session stay as they are. */
  tools?: string[];
  coordCommitter?: string;
  provider?: string;
  model?: string;
  /** Fields that this version does not know, as they are. */
  other: Record<string, Value>;
  body: string;
}

export interface Parsed {
  role?: Role;
  /** Why there is no role. */
  errors: string[];
  warnings: string[];
}

const NAME = /^[a-z][a-z0-9_-]*$/;
const FIELD = /^([A-Za-z_][A-Za-z0-9_-]*)\s*:(?:\s+(.*))?$/s;
const ITEM = /^\s*-\s+(\S.*)$/s;
const KNOWN = ["name", "description", "icon", "thinking", "tools", "coordCommitter", "provider", "model"];

/** Takes the quotes off that YAML would. */
function unquoted(text: string): string {
  const quote = text[0];
  const whole = text.length >= 2 && text.endsWith(quote);
  return (quote === '"' || quote === "'") && whole ? text.slice(1, -1) : text;
}

function inline(text: string): string[] {
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list) && list.every((item) => typeof item === "string")) return list;
  } catch {
    // No JSON: words with commas between them.
  }
  const words = text.slice(1, -1).split(",");
  return words.map((word) => unquoted(word.trim())).filter((word) => word !== "");
}

/** Reads the lines between the two `---`; `first` is the number of the first one. */
function fields(lines: string[], first: number, errors: string[]): Map<string, Value> {
  const found = new Map<string, Value>();
  let open: string[] | undefined;
  lines.forEach((line, index) => {
    if (line.trim() === "" || line.trimStart().startsWith("#")) return;
    const item = ITEM.exec(line);
    if (item && open) {
      open.push(unquoted(item[1].trim()));
      return;
    }
    const field = item ? null : FIELD.exec(line);
    if (!field) {
      errors.push(`line ${first + index} is neither \`key: value\` nor an item of a list`);
      return;
    }
    const value = (field[2] ?? "").trim();
    open = value === "" ? [] : undefined;
    const list = value.startsWith("[") && value.endsWith("]") ? inline(value) : undefined;
    found.set(field[1], open ?? list ?? unquoted(value));
  });
  return found;
}

/** Returns the heading of level 2 or 3 that a line is. */
function heading(line: string): string | undefined {
  const found = /^#{2,3}\s+(.+?)\s*#*\s*$/.exec(line);
  return found?.[1].toLowerCase();
}

/** Returns the text below a heading, up to the next heading of the same depth or above. */
export function section(body: string, name: string): string | undefined {
  const lines = body.split("\n");
  const start = lines.findIndex((line) => heading(line) === name.toLowerCase());
  if (start < 0) return undefined;
  const depth = /^#+/.exec(lines[start])![0].length;
  const rest = lines.slice(start + 1);
  const end = rest.findIndex((line) => {
    const marks = /^(#{1,6})\s/.exec(line);
    return marks !== null && marks[1].length <= depth;
  });
  return (end < 0 ? rest : rest.slice(0, end)).join("\n").trim();
}

export function parse(text: string, bundled: boolean): Parsed {
  const errors: string[] = [];
  const warnings: string[] = [];
  const lines = text.replace(/^\uFEFF/, "").replace(/\r\n/g, "\n").split("\n");
  if (lines[0].trimEnd() !== "---") {
    return { errors: ["the file does not begin with front matter between `---` lines"], warnings };
  }
  const length = lines.slice(1).findIndex((line) => line.trimEnd() === "---");
  if (length < 0) return { errors: ["the front matter has no `---` line at its end"], warnings };
  const found = fields(lines.slice(1, length + 1), 2, errors);
  const body = lines.slice(length + 2).join("\n").trim();

  /** A key without a value says nothing, where it may be left out. */
  const optional = (key: string): string | undefined => {
    const value = found.get(key);
    if (value === undefined || (Array.isArray(value) && value.length === 0)) return undefined;
    if (typeof value === "string") return value;
    errors.push(`\`${key}\` is one value, not a list`);
    return undefined;
  };
  const required = (key: string): string => {
    const value = found.get(key);
    if (typeof value === "string" && value.trim() !== "") return value;
    errors.push(`\`${key}\` is missing or empty`);
    return "";
  };
  const name = required("name");
  if (name !== "" && !NAME.test(name)) {
    errors.push("`name` has lower-case letters, digits, `-` and `_`, and begins with a letter");
  }
  const description = required("description");
  const thinking = optional("thinking");
  if (thinking !== undefined && !THINKING.includes(thinking as Thinking)) {
    errors.push(`\`thinking\` is one of ${THINKING.join(", ")}`);
  }
  const tools = found.get("tools");
  if (typeof tools === "string") errors.push("`tools` is a list");
  if (body === "") errors.push("the file has no instructions below its front matter");
  for (const name of SECTIONS.filter((name) => section(body, name) === undefined)) {
    (bundled ? errors : warnings).push(`the section \`${name}\` is missing`);
  }
  const role: Role = {
    name,
    description,
    icon: optional("icon"),
    thinking: thinking as Thinking | undefined,
    tools: Array.isArray(tools) ? [...new Set(tools)] : undefined,
    coordCommitter: optional("coordCommitter"),
    provider: optional("provider"),
    model: optional("model"),
    other: Object.fromEntries([...found].filter(([key]) => !KNOWN.includes(key))),
    body,
  };
  return errors.length > 0 ? { errors, warnings } : { role, errors, warnings };
}

/** Returns the steps of a cycle: the items of a list, or else the text as one. */
export function steps(role: Role): string[] {
  const text = section(role.body, "One-cycle workflow") ?? "";
  const items: string[] = [];
  for (const line of text.split("\n")) {
    const item = /^\s*(?:[-*+]|\d+[.)])\s+(.+)$/.exec(line);
    if (item) items.push(item[1].trim());
    else if (items.length > 0 && line.trim() !== "") items[items.length - 1] += ` ${line.trim()}`;
  }
  return items.length > 0 ? items : text === "" ? [] : [text];
}

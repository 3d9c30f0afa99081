// What is remembered in the session: the latest entry of the branch counts.

export const ENTRY = "role-manager-state";

export interface Settings {
  provider?: string;
  model?: string;
  thinkingLevel?: string;
  tools?: string[];
}

export interface Cycle {
  mode: string;
  goal: string;
  startedAt: string;
  checklist: string[];
  completedAt?: string;
  summary?: string;
  recommendedNextRole?: string;
}

export interface State {
  version: 1;
  /** `null` once it was cleared. */
  activeRoleName: string | null;
  /** What a clear brings back. */
  previousSettings?: Settings;
  updatedAt: string;
  activatedAt?: string;
  clearedAt?: string;
  roleCycle?: Cycle;
}

type Fields = Record<string, unknown>;

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
const texts = (value: unknown): string[] | undefined =>
  Array.isArray(value) && value.every((item) => typeof item === "string") ? value : undefined;

function settings(value: unknown): Settings | undefined {
  if (!isFields(value)) return undefined;
  return {
    provider: text(value.provider),
    model: text(value.model) ?? text(value.modelId),
    thinkingLevel: text(value.thinkingLevel),
    tools: texts(value.tools),
  };
}

function cycle(value: unknown): Cycle | undefined {
  if (!isFields(value) || text(value.goal) === undefined) return undefined;
  return {
    mode: text(value.mode) ?? "cycle",
    goal: text(value.goal) ?? "",
    startedAt: text(value.startedAt) ?? "",
    checklist: texts(value.checklist) ?? [],
    completedAt: text(value.completedAt),
    summary: text(value.summary),
    recommendedNextRole: text(value.recommendedNextRole),
  };
}

/** Reads an entry of this or of an older version; nothing else is believed of it. */
export function read(data: unknown): State | undefined {
  if (!isFields(data)) return undefined;
  const named = ["activeRoleName", "activeRole", "role"].find((key) => key in data);
  if (named === undefined) return undefined;
  const value = data[named];
  const name = isFields(value) ? text(value.name) : text(value);
  const before = ["previousSettings", "originalSettings", "previousDefaults"].find((key) => key in data);
  return {
    version: 1,
    activeRoleName: name ?? null,
    previousSettings: before ? settings(data[before]) : undefined,
    updatedAt: text(data.updatedAt) ?? "",
    activatedAt: text(data.activatedAt),
    clearedAt: text(data.clearedAt),
    roleCycle: cycle(data.roleCycle),
  };
}

interface Entry {
  type: string;
  customType?: string;
  data?: unknown;
}

/** Returns the latest state of a branch, which is given from its root on. */
export function latest(branch: readonly Entry[]): State | undefined {
  for (const entry of [...branch].reverse()) {
    if (entry.type !== "custom" || entry.customType !== ENTRY) continue;
    const state = read(entry.data);
    if (state) return state;
  }
  return undefined;
}

// The tool that ends a cycle.

export const DONE = "role_cycle_done";

export interface Report {
  summary: string;
  filesInspected: string[];
  filesChanged: string[];
  testsChecksRun: string[];
  coordinationUpdates: string[];
  recommendedNextRole: string;
}

/** What models call the fields, besides their names. */
const ALIASES: Record<keyof Report, string[]> = {
  summary: ["result", "report"],
  filesInspected: ["inspectedFiles", "files_inspected"],
  filesChanged: ["changedFiles", "files_changed"],
  testsChecksRun: ["testsRun", "checksRun", "tests_checks_run", "tests", "checks"],
  coordinationUpdates: ["coordination", "coordination_updates"],
  recommendedNextRole: ["nextRole", "recommended_next_role"],
};

const LISTS: (keyof Report)[] = ["filesInspected", "filesChanged", "testsChecksRun", "coordinationUpdates"];

const string = (description: string) => ({ type: "string", description });
const list = (description: string) => ({ type: "array", items: { type: "string" }, description });

export const PARAMETERS = {
  type: "object",
  additionalProperties: false,
  required: Object.keys(ALIASES),
  properties: {
    summary: string("What was done and found, in a few sentences."),
    filesInspected: list("Files that were read."),
    filesChanged: list("Files that were changed; empty if there are none."),
    testsChecksRun: list("Commands that were run to check the work, with their results."),
    coordinationUpdates: list("Coordination items that were changed, and how."),
    recommendedNextRole: string("The role that should go on, or `none`."),
  },
};

/** Brings near misses into shape; what is still wrong is refused by the check that follows. */
export function repaired(given: unknown): unknown {
  if (typeof given !== "object" || given === null || Array.isArray(given)) return given;
  const fields = { ...(given as Record<string, unknown>) };
  for (const [name, others] of Object.entries(ALIASES)) {
    for (const other of others) {
      if (!(other in fields)) continue;
      if (!(name in fields)) fields[name] = fields[other];
      delete fields[other];
    }
  }
  for (const name of LISTS) {
    if (typeof fields[name] === "string") fields[name] = [fields[name]];
  }
  return fields;
}

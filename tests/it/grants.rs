//! What was approved is no approval of more: a line that is taken out, or says less, can be a grant, too.

use crate::sandbox::Project;

const ALLOW: &str = "network allowlist { allow \"api.test\" \"*.wide.test\"; ";
const AGENT: &str = "agent claude-code default=#true { hosts h.test; }\nnetwork allowlist { ";
const SECRET: &str =
    "network allowlist { allow api.test; }\nenv { secret KEY host=api.test from=\"env:KEY\" ";

#[test]
fn a_wider_file_needs_another_approval() {
    for (start, approved, wider) in [
        (ALLOW, "deny api.test methods=DELETE; }", "}"),
        (ALLOW, "deny api.test methods=\"DELETE,PUT\"; }", "deny api.test methods=DELETE; }"),
        (ALLOW, "deny api.test paths=\"/admin*\"; }", "deny api.test paths=\"/admin/x\"; }"),
        (ALLOW, "deny a.wide.test; }", "}"),
        (ALLOW, "deny \"11.0.0.0/8\"; }", "}"),
        (ALLOW, "bytes api.test up=\"1KiB\"; }", "}"),
        (ALLOW, "bytes api.test up=\"1KiB\"; }", "bytes api.test up=\"1MiB\"; }"),
        (ALLOW, "bytes api.test connections=1; }", "bytes api.test connections=2; }"),
        (AGENT, "deny h.test; }", "}"),
        (AGENT, "deny api.anthropic.com methods=PUT; }", "}"),
        (SECRET, "header=\"x-api-key\"; }", "; }"),
        (SECRET, "header=\"x-api-key\"; }", "header=\"x-other\"; }"),
        (SECRET, "header=\"x-api-key\"; }", "header=\"x-api-key\" format=\"token {}\"; }"),
        (SECRET, "header=authorization format=\"token {}\"; }", "header=authorization; }"),
    ] {
        let project = Project::new(&format!("{start}{approved}\n"));
        project.trust();
        project.write("pier.kdl", format!("{start}{wider}\n"));
        let refused = project.exec(&["true"]).refused(125, "trust::needed");
        assert!(refused.flat().contains("grant more than was approved"), "{approved}: {}", refused.flat());
    }
}

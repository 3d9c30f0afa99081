//! Trajectories that are larger than what a command may have in memory.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// How many steps it has, and how many bytes are in each: more in all than what is read at once.
const STEPS: usize = 1400;
const BYTES: usize = 8 << 10;

/// What the program may have of its own in memory, in KiB: less than the document.
const MOST: usize = 10 << 10;

fn document() -> String {
    let step = |number: usize| {
        if number.is_multiple_of(2) {
            return json!({
                "step_id": number, "source": "agent", "message": "", "timestamp": "2026-01-02T03:04:05Z",
                "tool_calls": [{ "tool_call_id": "c", "function_name": "Bash", "arguments": { "command": format!("ls {number}") } }],
                "observation": { "results": [{ "source_call_id": "c", "content": "line of output\n".repeat(BYTES / 15) }] },
            });
        }
        json!({ "step_id": number, "source": "user", "message": "words ".repeat(BYTES / 6), "timestamp": "2026-01-02T03:04:05Z" })
    };
    let sub = json!({
        "schema_version": "ATIF-v1.7", "trajectory_id": "below", "agent": { "name": "b", "version": "1" },
        "steps": [{ "step_id": 1, "source": "user", "message": "asked" }],
    });
    json!({
        "schema_version": "ATIF-v1.7",
        "session_id": "s",
        "agent": { "name": "a", "version": "1" },
        // Before the steps, which nobody has to write in an order.
        "subagent_trajectories": [sub],
        "steps": (1..=STEPS).map(step).collect::<Vec<_>>(),
    })
    .to_string()
}

#[test]
fn no_command_has_more_of_a_trajectory_in_memory_than_a_step() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("trajectory.json");
    let text = document();
    assert!(text.len() > MOST << 10);
    fs_err::write(&file, text).unwrap();
    let pier = |words: &str| {
        let line = format!("ulimit -d {MOST}; exec \"$PIER\" trajectory {words}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(place.path()).env_clear().env("HOME", place.path());
        shell.env("PIER", env!("CARGO_BIN_EXE_pier")).stdin(Stdio::null());
        let output = shell.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}: {:?} {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    };
    let lines: Vec<Value> =
        pier("export trajectory.json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages = |line: &Value| line["messages"].as_array().unwrap().len();
    // A call is a message, and its answer another one. Who was asked comes behind who asked, wherever it stands.
    assert_eq!(lines.iter().map(messages).collect::<Vec<_>>(), [STEPS + STEPS / 2, 1]);
    let request: Value = serde_json::from_str(&pier("export trajectory.json -f otel --unredacted")).unwrap();
    let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 2 + STEPS);
    assert_eq!(spans.last().unwrap()["parentSpanId"], spans[0]["spanId"]);
    assert_eq!(pier("show trajectory.json --json").lines().count(), STEPS);
    let shown = pier("show trajectory.json");
    let last = shown.find(&format!("#{STEPS} agent")).unwrap();
    assert!(shown.starts_with("a 1") && shown.find("sub-agent below").unwrap() > last);
    assert!(pier("stats trajectory.json").contains(&format!("{} steps", STEPS + 1)));
    assert!(!pier("diff trajectory.json trajectory.json").contains("\n-"));
    assert!(pier(&format!("search -t 'ls {STEPS}' trajectory.json")).contains(&format!("#{STEPS}: ")));
    assert!(pier("search -t Bash trajectory.json -l").contains("trajectory.json"));
    assert_eq!(pier("validate trajectory.json"), "trajectory.json: valid\n");
}

#[test]
fn a_trajectory_may_come_through_a_pipe() {
    let place = tempfile::tempdir().unwrap();
    fs_err::write(place.path().join("trajectory.json"), document()).unwrap();
    for words in ["show /dev/stdin --json", "export /dev/stdin -f otel"] {
        let mut shell = Command::new("sh");
        let line = format!("cat trajectory.json | \"$PIER\" trajectory {words}");
        shell.args(["-c", &line]).current_dir(place.path()).env("PIER", env!("CARGO_BIN_EXE_pier"));
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.len() > BYTES * STEPS / 2, "{words}");
    }
}

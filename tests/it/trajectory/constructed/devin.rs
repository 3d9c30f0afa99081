//! Sessions of the Devin CLI, written after what is published of its database.

use serde_json::json;

use super::of;

#[test]
fn the_branch_that_counts_becomes_a_trajectory() {
    let converted = of("devin/basic");
    let (said, document) = (&converted.said, &converted.document);
    assert_eq!((&said["agent"], &said["status"]), (&"devin".into(), &"complete".into()));
    assert_eq!((&said["run"]["outcome"], &said["counts"]["other-branches"]), (&"finished".into(), &1.into()));
    assert_eq!(
        (&document["session_id"], &document["agent"]["model_name"]),
        (&"d1".into(), &"claude-opus-4.7".into())
    );
    let steps = document["steps"].as_array().unwrap();
    let sources: Vec<&str> = steps.iter().map(|step| step["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["system", "user", "agent", "agent"]);
    let first = &steps[2];
    assert_eq!(
        (&first["message"], &first["reasoning_content"]),
        (&"Let me look.".into(), &"Look first.".into())
    );
    assert_eq!(first["tool_calls"][0]["arguments"], json!({ "command": "ls" }));
    assert_eq!(first["observation"]["results"][0]["content"], "a");
    let metrics = &first["metrics"];
    assert_eq!((&metrics["prompt_tokens"], &metrics["cached_tokens"]), (&105.into(), &60.into()));
    assert_eq!(steps[3]["message"], "Done.");
    // Credits are no dollars.
    assert_eq!(document["final_metrics"]["extra"]["total_acu_cost"], 0.5);
}

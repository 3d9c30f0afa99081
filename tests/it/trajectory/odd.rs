//! Numbers of tokens that are none.

use super::convert;

/// The report of a log of one answer of the model, with this in the place of the tokens that it read.
fn told(number: &str) -> (serde_json::Value, serde_json::Value) {
    let place = tempfile::tempdir().unwrap();
    let lines = [
        r#"{"type":"user","uuid":"a","sessionId":"s","timestamp":"2026-01-02T03:04:05.000Z","message":{"role":"user","content":"hi"}}"#.to_owned(),
        format!(
            r#"{{"type":"assistant","uuid":"b","sessionId":"s","timestamp":"2026-01-02T03:04:06.000Z","message":{{"id":"m","model":"some-model","role":"assistant","content":[{{"type":"text","text":"ho"}}],"stop_reason":"end_turn","usage":{{"input_tokens":{number},"output_tokens":7}}}}}}"#
        ),
    ];
    fs_err::write(place.path().join("s.jsonl"), lines.join("\n") + "\n").unwrap();
    let converted = convert(place.path(), &["--agent", "claude-code"]);
    (converted.said, converted.document["steps"][1]["metrics"].clone())
}

#[test]
fn a_number_of_tokens_that_is_none_is_said_with_its_place() {
    for number in ["-5", "1e300", "99999999999999999999", "\"12\"", "[1]", "true"] {
        let (said, metrics) = told(number);
        assert_eq!(
            (&said["status"], &said["counts"]["token-count"]),
            (&"partial".into(), &1.into()),
            "{number}"
        );
        let reasons = said["reasons"].as_array().unwrap();
        let reason = reasons.iter().find(|reason| reason["code"] == "token-count").unwrap();
        assert_eq!((&reason["file"], &reason["line"]), (&"s.jsonl".into(), &2.into()), "{number}: {reason}");
        assert!(reason["text"].as_str().unwrap().contains("`input_tokens`"), "{reason}");
        assert_eq!(metrics["completion_tokens"], 7, "{number}");
    }
    for number in ["5", "null", "5.0", "0"] {
        let (said, _) = told(number);
        assert_eq!(
            (&said["status"], &said["counts"]["token-count"]),
            (&"complete".into(), &().into()),
            "{number}"
        );
    }
}

#[test]
fn numbers_that_are_all_none_are_left_out_and_those_of_a_whole_run_are_told() {
    let place = tempfile::tempdir().unwrap();
    let lines = [
        r#"{"type":"system","subtype":"init","session_id":"s","model":"m"}"#,
        r#"{"type":"assistant","message":{"role":"assistant","content":[{"type":"text","text":"ho"}]},"session_id":"s"}"#,
        r#"{"type":"result","subtype":"success","is_error":false,"result":"ho","session_id":"s","usage":{"inputTokens":-3,"outputTokens":-1}}"#,
    ];
    fs_err::write(place.path().join("cursor-cli.txt"), lines.join("\n") + "\n").unwrap();
    let converted = convert(place.path(), &["--agent", "cursor-cli"]);
    let reasons = converted.said["reasons"].as_array().unwrap();
    let reason = reasons.iter().find(|reason| reason["code"] == "token-count").unwrap();
    assert_eq!((&reason["file"], &reason["line"]), (&"cursor-cli.txt".into(), &3.into()), "{reason}");
    assert!(converted.document["final_metrics"]["total_prompt_tokens"].is_null());
}

//! The projects in `examples/`, each as a user would have it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::sandbox::Project;

fn copy(name: &str) -> Project {
    let project = Project::new("");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let status = Command::new("cp").arg("-rT").arg(from).arg(project.root()).status().unwrap();
    assert!(status.success());
    fs_err::create_dir_all(project.home().join(".cargo/registry")).unwrap();
    // Where an agent may be: found on the host, as a native install.
    for agent in ["claude", "pi"] {
        let place = project.home().join(".local/bin").join(agent);
        fs_err::create_dir_all(place.parent().unwrap()).unwrap();
        fs_err::copy("/bin/true", &place).unwrap();
    }
    project.give_away();
    project
}

fn plan(project: &Project) -> Value {
    let path = format!("{}/.local/bin:/usr/local/bin:/usr/bin:/bin", project.home().display());
    let output = project.call(["plan", "--json"]).env("PATH", path).env("ANTHROPIC_API_KEY", "sk").run();
    serde_json::from_slice(&output.expect(0).stdout).unwrap()
}

#[test]
fn every_example_can_be_planned() {
    let names = fs_err::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap();
    let names = names.map(|entry| entry.unwrap().path()).filter(|path| path.join("pier.kdl").exists());
    let mut names: Vec<String> =
        names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["node-pi", "python-no-agent", "rust-claude"]);
    for name in names {
        let plan = plan(&copy(&name));
        assert_eq!(plan["project"]["name"], name.as_str());
        let agent = &plan["command"]["agent"]["name"];
        let expected = [("node-pi", "pi"), ("rust-claude", "claude-code")];
        let expected = expected.iter().find(|(example, _)| *example == name);
        assert_eq!(agent.as_str(), expected.map(|(_, agent)| *agent), "{name}");
        assert_eq!(plan["grants"].as_array().unwrap().is_empty(), expected.is_none(), "{name}");
    }
}

#[test]
fn the_example_without_an_agent_runs_its_tests_with_no_approval() {
    let project = copy("python-no-agent");
    let tests = ["python3", "-m", "unittest", "discover", "-s", "src", "-p", "test_*.py"];
    let output = project.exec(&tests).expect(0);
    assert!(output.said().contains("OK"), "{}", output.said());
}

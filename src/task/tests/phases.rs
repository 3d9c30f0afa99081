//! Where a task is verified, and what each phase may reach.

use super::super::{
    Mode, Phase, Policy, Task, VerifierMode, has_separate_verifier, has_shared_verifier, resolve_network,
    verifier_environment, verifier_mode,
};
use super::task;
use crate::task::AllowedHost;

const PHASES: [Phase; 4] =
    [Phase::AgentEnvironment, Phase::Agent, Phase::VerifierEnvironment, Phase::Verifier];

fn modes(task: &Task, step: Option<usize>) -> [Mode; 4] {
    let step = step.map(|step| &task.steps[step]);
    PHASES.map(|phase| resolve_network(task, step, phase).mode)
}

#[test]
fn a_phase_that_says_nothing_has_the_policy_of_its_environment() {
    use Mode::{Allowlist, NoNetwork, Public};
    let cases = [
        ("", [Public; 4]),
        ("[environment]\nnetwork_mode = \"no-network\"\n", [NoNetwork; 4]),
        ("[environment]\nallow_internet = false\n", [NoNetwork; 4]),
        ("[agent]\nnetwork_mode = \"no-network\"\n", [Public, NoNetwork, Public, Public]),
        (
            "[environment]\nnetwork_mode = \"no-network\"\n[verifier]\nnetwork_mode = \"public\"\n",
            [NoNetwork, NoNetwork, NoNetwork, Public],
        ),
        (
            "[environment]\nnetwork_mode = \"no-network\"\n[verifier.environment]\ncpus = 1\n",
            [NoNetwork, NoNetwork, Public, Public],
        ),
        (
            "[environment]\nnetwork_mode = \"allowlist\"\n[verifier]\nenvironment_mode = \"separate\"\n",
            [Allowlist; 4],
        ),
        (
            "[verifier]\nnetwork_mode = \"public\"\n[verifier.environment]\nnetwork_mode = \"no-network\"\n",
            [Public, Public, NoNetwork, Public],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(modes(&task(text), None), expected, "{text}");
    }
}

#[test]
fn a_step_comes_before_the_task() {
    use Mode::{NoNetwork, Public};
    let text = "[agent]\nnetwork_mode = \"no-network\"\n[[steps]]\nname = \"one\"\n[[steps]]\nname = \"two\"\n\
                [steps.agent]\nnetwork_mode = \"public\"\n[steps.verifier.environment]\nnetwork_mode = \"no-network\"\n";
    let task = task(text);
    assert_eq!(modes(&task, Some(0)), [Public, NoNetwork, Public, Public]);
    assert_eq!(modes(&task, Some(1)), [Public, Public, NoNetwork, NoNetwork]);
}

#[test]
fn hosts_of_one_run_are_added_to_what_is_closed() {
    let host = |name: &str| AllowedHost::parse(name).unwrap();
    let policy =
        |mode, hosts: &[&str]| Policy { mode, allowed_hosts: hosts.iter().copied().map(host).collect() };
    let more = [host("b.org"), host("a.org")];
    let cases = [
        (policy(Mode::Public, &[]), policy(Mode::Public, &[])),
        (policy(Mode::NoNetwork, &[]), policy(Mode::Allowlist, &["b.org", "a.org"])),
        (policy(Mode::Allowlist, &["a.org"]), policy(Mode::Allowlist, &["a.org", "b.org"])),
    ];
    for (before, expected) in cases {
        assert_eq!(before.with(&more), expected);
    }
    assert_eq!(policy(Mode::NoNetwork, &[]).with(&[]), policy(Mode::NoNetwork, &[]));
}

#[test]
fn a_verifier_is_where_it_says_or_where_its_environment_is() {
    use VerifierMode::{Separate, Shared};
    let cases = [
        ("", Shared, None),
        ("[verifier]\nenvironment_mode = \"separate\"\n", Separate, Some(9.0)),
        ("[verifier.environment]\ncpus = 1\n", Separate, Some(1.0)),
    ];
    for (text, mode, cpus) in cases {
        let task = task(&format!("[environment]\ncpus = 9\n{text}"));
        assert_eq!(verifier_mode(&task, None), mode, "{text}");
        let environment = verifier_environment(&task, None);
        assert_eq!(environment.and_then(|environment| environment.cpus), cpus, "{text}");
    }
}

#[test]
fn a_step_is_verified_where_it_says_or_as_the_task() {
    let text = "[verifier.environment]\ncpus = 1\n[[steps]]\nname = \"a\"\n[[steps]]\nname = \"b\"\n\
                [steps.verifier]\nenvironment_mode = \"shared\"\n[[steps]]\nname = \"c\"\n\
                [steps.verifier.environment]\ncpus = 2\n";
    let task = task(text);
    let of = |step: usize| {
        let environment = verifier_environment(&task, Some(&task.steps[step]));
        environment.and_then(|environment| environment.cpus)
    };
    assert_eq!([of(0), of(1), of(2)], [Some(1.0), None, Some(2.0)]);
    assert!(has_shared_verifier(&task) && has_separate_verifier(&task));
    assert!(has_shared_verifier(&Task::default()) && !has_separate_verifier(&Task::default()));
}

//! What somebody inside tries to learn of a secret, from answers that echo it.

use super::inside;
use super::servers::Servers;
use crate::sandbox::Project;

const HOSTS: &str = "127.0.0.1 localhost\n11.93.7.3 api.test code.test\n11.93.7.2 allowed.test git.test\n";

fn world(rules: &str, key: &str) -> Option<(Servers, Project)> {
    let servers = Servers::start()?;
    let project = Project::new(rules);
    project.write_beside("home/key", format!("{key}\n"));
    project.write_beside("bundle.pem", &servers.web.authority);
    project.trust();
    Some((servers, project))
}

/// Asks for a text with one more letter in many ways, and says what comes back changed, but for the whole value.
const GUESS: &str = r##"
import subprocess, string, os
def asked(host, guesses):
    args = []
    for i, guess in enumerate(guesses): args += ['-H', 'g%d: #%s#' % (i, guess)]
    out = subprocess.run(['curl', '-sS', host] + args, capture_output=True, text=True).stdout
    return dict(line.split(': ', 1) for line in out.splitlines() if ': ' in line)
def changed(host, value):
    found = []
    for at in range(1, len(value)):
        guesses = [value[:at]] + [value[:at - 1] + letter for letter in '0aA-' if value[:at - 1] + letter != value]
        answer = asked(host, guesses)
        found += [guess for i, guess in enumerate(guesses) if answer['g%d' % i] != '#%s#' % guess]
    return found
"##;

#[test]
fn no_guess_is_told_apart_but_the_whole_value() {
    let key = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.Qx7_zR3kPw9LmN2v";
    let rules =
        "env { secret TOKEN host=api.test from=\"file:~/key\"; }\nnetwork allowlist { allow api.test; }\n";
    let Some((_servers, project)) = world(rules, key) else { return };
    let script = format!(
        "cat > a.py <<'P'\n{GUESS}\nvalue = '{key}'\nprint(changed('https://api.test/', value), asked('https://api.test/', [value])['g0'])\nP\npython3 a.py"
    );
    let text = inside(&project, HOSTS, &script).expect(0).text();
    assert!(text.starts_with("[] #") && !text.contains(key), "{text}");
}

#[test]
fn no_guess_at_a_login_is_told_apart_but_the_whole() {
    let login = "jane.doe@corp.example:Tr0ub4dor&3";
    let rules = "network allowlist {\n allow allowed.test\n upstream \"http://git.test:9419\" login=\"file:~/key\"\n}\n";
    let Some((_servers, project)) = world(rules, login) else { return };
    let script = format!(
        "cat > a.py <<'P'\n{GUESS}\nvalue = '{login}'\nprint(changed('http://allowed.test/', value), asked('http://allowed.test/', [value])['g0'])\nP\npython3 a.py"
    );
    let text = inside(&project, HOSTS, &script).expect(0).text();
    assert!(text.starts_with("[] #***") && !text.contains(login), "{text}");
}

#[test]
fn where_an_answer_is_cut_brings_no_part_of_a_login() {
    let key = "ghp_0123456789abcdefABCDEFghijkl";
    let rules =
        "env { secret TOKEN host=code.test from=\"file:~/key\"; }\nnetwork allowlist { allow code.test; }\n";
    let Some((_servers, project)) = world(rules, key) else { return };
    // Around the end of what is read at a time.
    let script = r##"cat > a.py <<'P'
import os, subprocess, base64, re
token = os.environ['TOKEN']
most = 0
for pad in range(7940, 8100):
    out = subprocess.run(['curl', '-sS', '-u', 'me:' + token, 'https://code.test/?' + 'a' * pad], capture_output=True, text=True).stdout
    told = base64.b64decode(re.search(r'authorization: Basic (\S+)', out).group(1)).decode('latin1')[3:]
    assert len(told) == len(token)
    most = max(most, sum(told[i] != token[i] for i in range(len(token))))
print(most)
P
python3 a.py"##;
    let text = inside(&project, HOSTS, script).expect(0).text();
    // The first and the last one have bits of their neighbours.
    assert!(text.parse::<usize>().is_ok_and(|letters| letters <= 2), "{text}");
}

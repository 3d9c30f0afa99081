//! pier and the extension of Pi read role files alike.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::json;
use crate::agents::{cache, has_pi};
use crate::model_server::{ModelServer, Script};
use crate::sandbox::Project;

/// Role files, each good or bad in its own way. `NAME` becomes a name of its own.
const FILES: &[&str] = &[
    "---\nname: NAME\ndescription: plain\n---\n## Mission\n\nwork\n",
    "\u{feff}---\r\nname: NAME\r\ndescription: \"quoted: 'x'\"\r\n---\r\n\r\n# All\r\n## mission ##\r\n### ALLOWED actions\r\n",
    "---\nname: NAME\ndescription: lists\ntools:\n  - read\n# between\n\n- 'ls'\n  - read\nextra: [a, \"b\" ,, 'c']\n---\nx",
    "---\nname: NAME\ndescription: json\ntools: [\"read\", \"a,b\"]\nthinking: xhigh\nicon: \u{1f9ed}\n---\nx\n",
    "---\nname: NAME\ndescription: empty\ntools:\nthinking:\ncoordCommitter:\nprovider: p\nmodel: a/b\n---\nx\n",
    "---\nname: NAME\nname: NAME\ndescription:   spaced   \nown_field: \" kept \"\n---\n\n\n  x  \n\n",
    "---\nname: NAME\ndescription: numbers\ntools: [1, 2]\ncoordCommitter: someone else\n---\n--- \nx\n---\n",
    "---\nname: NAME\ndescription: [one]\n---\nx\n",
    "---\nname: NAME\ndescription: bad\ntools: read, ls\nthinking: much\nicon: [a]\n---\nx\n",
    "---\nname: NAME\ndescription: bad\nkey:value\n indented: x\n- item\nä: x\n-\n---\nx\n",
    "---\nname: Upper\ndescription: bad\n---\nx\n",
    "---\ndescription: nameless\n---\nx\n",
    "---\nname: NAME\ndescription: no body\n---\n   \n",
    "---\nname: NAME\ndescription: no end\n",
    "name: NAME\n",
    "",
];

const SCRIPT: &str = "
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
const [jiti, file, ...paths] = process.argv.slice(1);
const { createJiti } = await import(pathToFileURL(jiti).href);
const { parse } = await createJiti(import.meta.url).import(file);
const read = (path) => parse(new TextDecoder('utf-8', { ignoreBOM: true }).decode(readFileSync(path)), false);
console.log(JSON.stringify(paths.map(read)));";

/// Where the loader is that Pi itself loads extensions by.
fn jiti(project: &Project) -> PathBuf {
    let agents = cache(project).join("pier/agents/pi");
    let found = fs_err::read_dir(agents).unwrap().flatten().map(|entry| entry.path());
    let mut found = found.map(|path| path.join("node_modules/jiti/lib/jiti.mjs"));
    found.find(|path| path.exists()).expect("Pi brings its loader")
}

#[test]
fn both_readers_agree() {
    let project = Project::new("agent pi default=#true { version \"0.74.2\"; }\n");
    let server = ModelServer::start(Script::Commands(Vec::new()));
    if !has_pi(&project, &server) {
        return;
    }
    let name = |number: usize| format!("role{number:02}");
    let path = |number: usize| format!(".pi/roles/{}.md", name(number));
    for (number, text) in FILES.iter().enumerate() {
        project.write(path(number), text.replace("NAME", &name(number)));
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions/pi-role-manager/lib/role-file.ts");
    let mut node = Command::new("node");
    node.args(["--input-type=module", "-e", SCRIPT, "--"]).arg(jiti(&project)).arg(source);
    node.args((0..FILES.len()).map(|number| project.root().join(path(number))));
    let theirs = json(&project.surround(node).run().expect(0));
    let mut valid = 0;
    for (number, theirs) in theirs.as_array().unwrap().iter().enumerate() {
        let path = path(number);
        let ours = json(&project.call(["role", "check", "--json", &path]).run());
        let texts = |list: &Value, key: Option<&str>| {
            let list = list.as_array().unwrap().iter();
            let text = list.map(|one| key.map_or(one, |key| &one[key]).as_str().unwrap().to_owned());
            let short = text.map(|text| text.replace(&format!("role-manager: {path}: "), ""));
            let short = short.map(|text| text.replace(&format!("`{path}`: "), ""));
            let mut short: Vec<String> = short.collect();
            short.sort();
            short
        };
        assert_eq!(texts(&ours["problems"], Some("message")), texts(&theirs["errors"], None), "{number}");
        assert_eq!(texts(&ours["warnings"], None), texts(&theirs["warnings"], None), "{number}");
        if theirs["role"].is_null() {
            continue;
        }
        valid += 1;
        let ours = json(&project.call(["role", "show", "--json", &name(number)]).run().expect(0));
        for key in [
            "name",
            "description",
            "icon",
            "thinking",
            "tools",
            "coordCommitter",
            "provider",
            "model",
            "other",
            "body",
        ] {
            assert_eq!(ours[key], *theirs["role"].get(key).unwrap_or(&json!(null)), "{number} {key}");
        }
    }
    assert_eq!(valid, 7);
}

use serde_json::{Value, json};

use super::*;

#[test]
fn secrets_are_told_by_name_and_by_value() {
    for (name, value) in [
        ("DEBUG", "1"),
        ("MONKEY", "banana"),
        ("AUTHOR", "me"),
        ("KEYBOARD", "us"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("RUST_LOG", "info,hyper=warn"),
        ("URL", "https://example.com/a/b"),
        ("DIR", "/home/user/some-long-name/deep"),
        // Where something is.
        ("PWD", "/home/user/project"),
        ("OLDPWD", "/tmp/a1b2c3d4e5f6a7b8c9d0e1f2"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-XXXXXXabcdef/agent.1234"),
        ("DESKTOP_SESSION", "gnome-classic"),
        ("API_KEY_FILE", "/run/secrets/key"),
        ("SESSION_DIR", "/var/lib/sessions"),
    ] {
        assert!(is_harmless(name, value), "{name}={value}");
    }
    for (name, value) in [
        ("API_KEY", "x"),
        ("OPENAI_APIKEY", "x"),
        ("DBPW", "hunter2"),
        ("DB_PASS", "x"),
        ("PASSPHRASE", "correct horse"),
        ("MY_SECRETS", "x"),
        ("my_token", "x"),
        ("DATABASE_URL", "postgres://user:pass@db.example.com/x"),
        ("ANY", "sk-ant-api03-abcdefghijklmnop"),
        ("ANY", "-----BEGIN PRIVATE KEY-----"),
        ("ANY", "prefix ghp_0123456789abcdefghij suffix"),
        // Called like a place, and none.
        ("PWD", "hunter2-hunter2"),
        ("API_KEY_FILE", "sk-ant-api03-abcdefghijklmnop"),
        ("SECRET_PATH_TOKEN", "/abcdefgh"),
    ] {
        assert!(!is_harmless(name, value), "{name}={value}");
    }
}

fn scrubbed(variables: &[(&str, &str)], text: &str) -> String {
    String::from_utf8(Scrubber::of(variables.iter().copied()).scrub(text.as_bytes()).0).unwrap()
}

#[test]
fn what_leaves_holds_no_secrets() {
    let variables = [
        ("DB_PASSWORD", "quo\"ted hunter2"),
        ("HOME", "/home/somebody"),
        ("PIN", "1234"),
        ("API_KEY", "plain-value"),
        ("OTHER_KEY", "another-key-of-some-length_0123456789"),
    ];
    for (text, expected) in [
        ("key=plain-value.", "key=[REDACTED]."),
        ("another-key-of-some-length_0123456789", "[REDACTED]"),
        // As it is asked about.
        ("Use the key ...me-length_0123456789?", "Use the key ...[REDACTED]?"),
        (r#"{"a":"quo\"ted hunter2"}"#, r#"{"a":"[REDACTED]"}"#),
        ("use sk-ant-api03-abcdefghijklmnop now", "use [REDACTED] now"),
        (r#"{"a":"one\nsk-ant-api03-abcdefghijklmnop"}"#, r#"{"a":"one\n[REDACTED]"}"#),
        (r#"{"a":"é\u00e9sk-ant-api03-abcdefghijklmnop"}"#, r#"{"a":"é\u00e9[REDACTED]"}"#),
        ("AKIAABCDEFGHIJKLMNOP,ghp_0123456789abcdefghij", "[REDACTED],[REDACTED]"),
        ("a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b", "a [REDACTED] b"),
        // One without an end takes nothing with it that is not its own.
        (r#"{"a":"-----BEGIN PRIVATE KEY-----\nMIIabc+/=\n"}, {"b":1}"#, r#"{"a":"[REDACTED]"}, {"b":1}"#),
        (r#"{"a":"{\"b\":\"-----BEGIN PRIVATE KEY-----\\nMII\"}"}"#, r#"{"a":"{\"b\":\"[REDACTED]\"}"}"#),
        // What only looks a little like one.
        (
            "/home/somebody 1234 task-list risk-based https://example.com/a:b@c",
            "/home/somebody 1234 task-list risk-based https://example.com/a:b@c",
        ),
        ("0123456789abcdef0123456789abcdef01234567", "0123456789abcdef0123456789abcdef01234567"),
        ("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"),
    ] {
        assert_eq!(scrubbed(&variables, text), expected);
    }
    let (binary, count) = Scrubber::of(variables).scrub(b"\xff\xfeplain-value\x00");
    assert_eq!((binary.as_slice(), count), (&b"\xff\xfe***********\x00"[..], 1));
}

/// Writes a text as a string of JSON, as other programs do, without its quotation marks.
fn within(text: &str, is_ascii: bool, is_upper: bool) -> String {
    let json = Value::from(text).to_string();
    let mut out = String::new();
    for c in json[1..json.len() - 1].chars() {
        if c.is_ascii() && !(c == '\u{7f}' && is_ascii) {
            out.push(c);
        } else if is_ascii {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&if is_upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") });
            }
        } else {
            out.push(c);
        }
    }
    if is_upper { out.replace('/', "\\/") } else { out }
}

const VALUES: &[&str] = &[
    "alphasecret1\nbetasecret2\n\tgamma",
    "quote\"secret\\back77",
    "\"\\begins-and-ends\\\"",
    "/slashes/and é 𝄞 \u{1}\u{7f}\u{202e}",
    "nothing-but-plain",
    "line\r\nline\u{8}\u{c}.",
];

#[test]
fn a_value_is_found_however_often_it_is_json_within_json() {
    for value in VALUES {
        let variables = [("NL_TOKEN", *value)];
        for writers in 0..64_u8 {
            let mut inner = format!("echo {value} now");
            for level in 0..3 {
                let writer = writers >> (2 * level);
                let written = within(&inner, writer & 1 != 0, writer & 2 != 0);
                let text = format!("{{\"a\":\"{written}\"}}");
                let clean = scrubbed(&variables, &text);
                assert_eq!(clean, within_of("echo [REDACTED] now", level), "{value:?} in {text}");
                inner = text;
            }
        }
    }
}

/// What a text is within so many documents.
fn within_of(text: &str, levels: u8) -> String {
    (0..=levels).fold(text.to_owned(), |inner, _| format!("{{\"a\":\"{}\"}}", within(&inner, false, false)))
}

#[test]
fn a_document_stays_one_whatever_is_taken_out() {
    // Behind a backslash, a value may be the end of an escape.
    let variables =
        [("A_TOKEN", "nalphasecret"), ("B_TOKEN", "\"secretsecret"), ("C_TOKEN", "secretsecret\\")];
    for text in [
        "\nalphasecret",
        "\\nalphasecret",
        "nalphasecret",
        "\"secretsecret\"",
        "\nsk-ant-api03-abcdefghijklmnop",
        "\npm_0123456789abcdefghijklmnopqrstuvwxyz",
        "it's password='",
        "'x1' secret_key='a\"b12345'",
        "password=\"",
        "api_key: \"abc1\\\\\"2345\"",
        "password=hunter2hunter2\\",
        "postgres://user:word\\@host",
        "-----BEGIN PRIVATE KEY-----\nMII",
    ] {
        let mut value = json!({ "a": text, "access_token": 123_456_789, "b": [text, true], text: "it's" });
        for _ in 0..3 {
            let clean = scrubbed(&variables, &format!("{value}\n{value}"));
            for line in clean.lines() {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
            value = json!({ "a": value.to_string(), "b": text });
        }
    }
}

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fw";

#[test]
fn what_looks_like_a_key_is_taken_out() {
    for (text, expected) in [
        (format!("t {TOKEN}."), "t [REDACTED]."),
        (format!(r#"{{"a":"{{\"b\":\"x\n{TOKEN}\"}}"}}"#), r#"{"a":"{\"b\":\"x\n[REDACTED]\"}"}"#),
        (["sk_li", "ve_4eC39HqLyjWDarjtT1zdp7dc"].concat(), "[REDACTED]"),
        (["rk_li", "ve_4eC39HqLyjWDarjtT1zdp7dc"].concat(), "[REDACTED]"),
        (["sk_te", "st_4eC39HqLyjWDarjtT1zdp7dc"].concat(), "[REDACTED]"),
        ("(pypi-AgEIcHlwaS5vcmcCJDNlMTIz)".into(), "([REDACTED])"),
        ("xai-abcDEF0123456789abcDEF".into(), "[REDACTED]"),
        ("gsk_abcDEF0123456789abcDEF".into(), "[REDACTED]"),
        // A field of HTTP.
        ("Authorization: Bearer abcdefgh-12345".into(), "Authorization: Bearer [REDACTED]"),
        (
            "curl -H 'authorization: basic dXNlcjpwYXNz' x".into(),
            "curl -H 'authorization: basic [REDACTED]' x",
        ),
        (r#"{"Authorization": "Bearer ABCdefgh12"}"#.into(), r#"{"Authorization": "Bearer [REDACTED]"}"#),
        (
            r#"{"a":"{\"Authorization\":\"Bearer ABCdefgh12\"}"}"#.into(),
            r#"{"a":"{\"Authorization\":\"Bearer [REDACTED]\"}"}"#,
        ),
        (r#"-H \"Authorization: Bearer ABCdefgh12\""#.into(), r#"-H \"Authorization: Bearer [REDACTED]\""#),
        // Names.
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            "aws_secret_access_key = [REDACTED]",
        ),
        (r#"{"api_key": "abcdefgh"}"#.into(), r#"{"api_key": "[REDACTED]"}"#),
        (r#""{\\\"apiKey\\\":\\\"abc\\\\\\\"d12\\\"}""#.into(), r#""{\\\"apiKey\\\":\\\"[REDACTED]\\\"}""#),
        ("https://x.example/?api_key=abcd1234&b=1".into(), "https://x.example/?api_key=[REDACTED]&b=1"),
        ("export OPENAI_API_KEY=abcd1234;".into(), "export OPENAI_API_KEY=[REDACTED];"),
        ("X-Api-Key: abcd1234".into(), "X-Api-Key: [REDACTED]"),
        ("password=hunter2hunter2.".into(), "password=[REDACTED]."),
        ("password: 'opensesame'".into(), "password: '[REDACTED]'"),
        (r#""password" => "a\"bcdefg""#.into(), r#""password" => "[REDACTED]""#),
        (
            r#"{"Authorization": f"Bearer abcdefgh1{x}2"}"#.into(),
            r#"{"Authorization": f"Bearer [REDACTED]{x}2"}"#,
        ),
        (format!("password={}", "a1".repeat(3000)), "password=[REDACTED]"),
        (format!("password='{}'", "a1".repeat(1500)), "password='[REDACTED]'"),
        // Flags of commands.
        ("mysql --password hunter2 -h x".into(), "mysql --password [REDACTED] -h x"),
        ("mysql --password=hunter2 -h x".into(), "mysql --password=[REDACTED] -h x"),
        ("x --db-password 'opensesame'".into(), "x --db-password '[REDACTED]'"),
        ("gh auth login --token abc12345".into(), "gh auth login --token [REDACTED]"),
        ("gh auth login --github-token=abc12345,".into(), "gh auth login --github-token=[REDACTED],"),
        (
            r#"{"a":"x
--token abc12345
"}"#
            .into(),
            r#"{"a":"x
--token [REDACTED]
"}"#,
        ),
        (r#"["mysql", "--password", "hunter2x"]"#.into(), r#"["mysql", "--password", "[REDACTED]"]"#),
        (r#"{"a":"["--api-key","hunter2x","x"]"}"#.into(), r#"{"a":"["--api-key","[REDACTED]","x"]"}"#),
        ("curl -s -u user:pw https://x".into(), "curl -s -u user:[REDACTED] https://x"),
        ("curl --user 'admin:admin' https://x".into(), "curl --user 'admin:[REDACTED]' https://x"),
        (r#"{"a":"curl -u "me:p;w" x"}"#.into(), r#"{"a":"curl -u "me:[REDACTED]" x"}"#),
        (r#"["curl","-u","user:pw"]"#.into(), r#"["curl","-u","user:[REDACTED]"]"#),
        ("curl -s \\\n  -u user:pw".into(), "curl -s \\\n  -u user:[REDACTED]"),
        (r#"{"a":"curl -s \\\n  -u user:pw"}"#.into(), r#"{"a":"curl -s \\\n  -u user:[REDACTED]"}"#),
        ("curl -d 'a; b' -u user:pw".into(), "curl -d 'a; b' -u user:[REDACTED]"),
        // A field in two.
        (
            r#"{"name":"Authorization","value":"Basic dXNlcjpwYXNz"}"#.into(),
            r#"{"name":"Authorization","value":"Basic [REDACTED]"}"#,
        ),
        (
            r#"{"a":"{
  "key": "X-Api-Key",
  "value": "abcdefgh"
}"}"#
                .into(),
            r#"{"a":"{
  "key": "X-Api-Key",
  "value": "[REDACTED]"
}"}"#,
        ),
        (
            r#"{"name": "DB_PASSWORD", "value": "opensesame"}"#.into(),
            r#"{"name": "DB_PASSWORD", "value": "[REDACTED]"}"#,
        ),
        (
            r#"headers.set("Authorization", "Bearer ABCdefgh12")"#.into(),
            r#"headers.set("Authorization", "Bearer [REDACTED]")"#,
        ),
        ("Proxy-Authorization: Basic dXNlcjpwdw==".into(), "Proxy-Authorization: Basic [REDACTED]"),
        // Addresses.
        ("redis://:pw@host:6379/0".into(), "redis://:[REDACTED]@host:6379/0"),
        ("https://0123456789abcdef0123@example.com/x".into(), "https://[REDACTED]@example.com/x"),
        ("git clone https://me:word@example.com/x".into(), "git clone https://me:[REDACTED]@example.com/x"),
        (r"{\/\/}postgres:\/\/user:pw@host\/db".into(), r"{\/\/}postgres:\/\/user:[REDACTED]@host\/db"),
        (
            "https://0123456789abcdef0123:x-oauth-basic@example.com/x".into(),
            "https://[REDACTED]@example.com/x",
        ),
    ] {
        let clean = scrubbed(&[], &text);
        assert_eq!(clean, expected);
        assert_eq!(Scrubber::default().scrub(clean.as_bytes()), (clean.into_bytes(), 0), "{text}");
    }
}

#[test]
fn prose_and_code_stay_readable() {
    for text in [
        "eyJhbGci.x.y is short, and eyJhbGciOiJIUzI1NiJ9 is a part",
        "gsk_render_node_get_node_type(node)",
        "pypi-attestation-models-of-the-index",
        "xai-org/grok-something-or-other",
        "Authorization: Bearer $TOKEN",
        "Authorization: Bearer ${TOKEN}",
        "Authorization: Bearer <your-token-1>",
        "Authorization: Bearer YOUR_API_KEY",
        "Authorization: Bearer Authentication, and Basic authentication",
        "const x = { apiKey: process.env.OPENAI_API_KEY_2, password: self.password2 }",
        "Authorization: Bearer authentication is what it takes",
        r#"{"Authorization": f"Bearer {token1234}"}"#,
        "api_key=$OPENAI_API_KEY1",
        "api_key=${OPENAI_API_KEY1}",
        r#"api_key = os.environ["OPENAI_API_KEY1"]"#,
        r#""api_key": "your-api-key-1""#,
        r#""api_key": "OPENAI_API_KEY""#,
        r#""api_key": "<API-KEY-1>""#,
        r#""api_key": "********12""#,
        r#""api_key": {"type": "string"}, "password": null, "access_token": 123456789"#,
        "password = getpass2(prompt)",
        "password: string; password_hash = argon2id12",
        "let password: Option<String> = None;",
        r#""password": "Enter 1 password""#,
        "password::verify1234",
        "login(user, password=password)",
        "access_token: https://docs.example/tokens/1",
        "https://example.com:8080/a@b",
        "postgres://user:$PASSWORD@host postgres://user:${PW}@host postgres://user:***@host",
        "ssh://git@example.com/x",
        "max_tokens: 12345678",
        "pass --password to log in, or --password-stdin, --token-file /run/token1 and --max-token 1000000",
        "use --password <password>, --password=$DB_PASSWORD, --token ${TOKEN1}, --token \"$TOKEN1\"",
        "--token /run/secrets/token1 --password --token1 --secret-name abc12345",
        r#"parser.add_argument("--password", "--passwd", help="The 2nd password")"#,
        r#"{"pattern":"--token","id_1":"call_12345678"}"#,
        "-p hunter2hunter2",
        "docker run -u 1000:1000 x; chown -u node:node1234 x",
        "curl -u $USER:$PASSWORD x && curl -u user: x && curl -u me x && curl -u 1000:1000 x",
        "curl -fsSL https://x | docker run --user node:node1234 y",
        "curl https://x\ndocker run -u node:node1234 y",
        r#"{"a":"curl https://x\ndocker run -u node:node1234 y"}"#,
        "scurl -u user:word curling -u user:word",
        r#"{"name":"Authorization","value":"Bearer ${TOKEN}"}"#,
        r#"{"name":"Authorization","in":"header","value":"abcdefgh1"}"#,
        r#"{"name":"author","value":"somebody-12345"}"#,
        r#"{"name":"password","type":"string","value":"a"}"#,
        r#"["Authorization", "Content-Type-12345"]"#,
    ] {
        assert_eq!(scrubbed(&[("REMOTE", "ssh://git@example.com/x")], text), text);
    }
}

#[test]
fn of_an_address_in_a_variable_the_password_is_the_secret() {
    let variables = [("DATABASE_URL", "postgres://user:long-password@host/db")];
    let text = "psql postgres://user:long-password@host/db with long-password";
    let expected = "psql postgres://user:[REDACTED]@host/db with [REDACTED]";
    assert_eq!(scrubbed(&variables, text), expected);
}

#[test]
fn hostile_texts_take_no_time() {
    let variables = [("A_TOKEN", "\\\\\\\\\\\\\\\\\\\\\\\\"), ("B_TOKEN", "aaaaaaaaaaaaaaaab")];
    let scrubber = Scrubber::of(variables);
    for piece in [
        "\\",
        "a",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----!",
        "xai-",
        "gsk_-",
        "eyJ",
        "eyJaaaaaaaaaa.",
        "api_key=",
        "api_key=\"a",
        "api_key='",
        "://",
        "://a:",
        "password: ",
        "Authorization: Bearer ",
        "--password ",
        "--password \"",
        "--token=",
        "\"--token\",\"a",
        "curl -u a:",
        "-u a:",
        "curl -u \"a:",
        "{\"name\":\"Authorization\",\"value\":\"",
        "{\"name\":\"",
        "\"Authorization\",",
    ] {
        let text = piece.repeat((1 << 17) / piece.len());
        let begun = std::time::Instant::now();
        scrubber.scrub(text.as_bytes());
        assert!(begun.elapsed().as_secs() < 20, "{piece}: {:?}", begun.elapsed());
    }
}

proptest::proptest! {
    #[test]
    fn a_value_leaves_no_document(value in "[ -~\\n\\t\\r\u{1}é𝄞]{8,24}", levels in 0_u8..3, before in "[a-z\\n\\\\\" ]{0,4}") {
        let value = value.trim();
        proptest::prop_assume!(value.len() >= 8);
        let text = within_of(&format!("{before}{value}"), levels);
        let clean = scrubbed(&[("A_SECRET", value)], &text);
        let mut inner = clean.clone();
        for _ in 0..=levels {
            let document: Value = serde_json::from_str(&inner).map_err(|error| {
                proptest::test_runner::TestCaseError::fail(format!("{error}: {inner}"))
            })?;
            inner = document["a"].as_str().unwrap_or_default().to_owned();
        }
        proptest::prop_assert!(!inner.contains(value), "{}", clean);
    }
}

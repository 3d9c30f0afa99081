//! Flags among the words of a command.

/// Says whether `flag` is given in either of its forms, `--flag value` or `--flag=value`.
pub fn has_flag(args: &[String], flags: &[&str]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| {
        flags
            .iter()
            .any(|flag| arg.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
    })
}

/// Takes a flag out of words, as one word or two; returns its values.
pub fn taken(words: &mut Vec<String>, flag: &str) -> Vec<String> {
    let (mut values, mut kept) = (Vec::new(), Vec::new());
    let mut rest = words.drain(..);
    while let Some(word) = rest.next() {
        // What follows is the prompt.
        if word == "--" {
            kept.push(word);
            kept.extend(rest.by_ref());
        } else if word == flag {
            values.extend(rest.next());
        } else if let Some(value) = word.strip_prefix(flag).and_then(|value| value.strip_prefix('=')) {
            values.push(value.to_owned());
        } else {
            kept.push(word);
        }
    }
    drop(rest);
    *words = kept;
    values
}

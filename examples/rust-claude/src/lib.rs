//! Counts words.

use std::collections::BTreeMap;

/// Returns how often each word occurs, without regard to case.
pub fn count(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn case_and_punctuation_do_not_matter() {
        let counts = count("To be, or not to be.");
        assert_eq!(counts["to"], 2);
        assert_eq!(counts["or"], 1);
    }
}

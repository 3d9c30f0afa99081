//! Every diagnostic code, with the sentence that explains it. Codes are stable: scripts match on them.

/// `(code, what it means)`, sorted by code. Every one has a snapshot in `tests/it`.
pub const ALL: &[(&str, &str)] = &[
    ("config::bad-path", "The words before `=` in an edit or a flag name no setting."),
    ("config::bad-value", "A value has the right type and means nothing here."),
    ("config::control-character", "The file holds a character that people cannot see."),
    ("config::duplicate", "Something that may be given once is given twice."),
    ("config::edit-refused", "An edit would make the file invalid."),
    ("config::extra-value", "A node has more arguments than it takes."),
    ("config::include", "An included file is missing, out of bounds, or includes itself."),
    ("config::missing-value", "A node lacks an argument or a property."),
    ("config::none", "There is no `pier.kdl` from here up to the project's root."),
    ("config::not-utf8", "The file is not UTF-8 text."),
    ("config::syntax", "The file is not KDL 2."),
    ("config::too-deep", "Blocks are nested too deep."),
    ("config::too-large", "The file is larger than any configuration."),
    ("config::too-many", "The file has too many nodes or values."),
    ("config::type", "A value has the wrong type."),
    ("config::type-annotation", "Values of pier.kdl carry no type annotations."),
    ("config::unknown-node", "There is no such setting at this place."),
    ("config::unknown-profile", "No file has the profile that was asked for."),
    ("config::unknown-property", "The node has no such property."),
    ("config::unreadable", "A configuration file is there and cannot be read."),
    ("init::exists", "There is a `pier.kdl` already."),
    ("init::write", "The starter file cannot be written."),
    ("policy::ceiling", "A file asks for more than the administrator's policy allows."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(ALL.is_sorted_by(|a, b| a.0 < b.0));
    }
}

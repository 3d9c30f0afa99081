//! What a call of a model costs where its agent does not say it: a dated table, which a user's own may replace.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::step::Usage;

/// The table that comes with pier; `prices.toml` says what is in it.
const EMBEDDED: &str = include_str!("prices.toml");

/// Prices by the names of models.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// When they were looked up, or what they were read from.
    pub source: String,
    models: BTreeMap<String, Price>,
}

/// US dollars for a million tokens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
    above: Option<Above>,
    /// Variants of the name are other models.
    #[serde(default)]
    exactly: bool,
}

/// What all tokens of a call cost that reads more than this many.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Above {
    tokens: u64,
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Prices {
    /// The table that comes with pier.
    pub fn embedded() -> Self {
        // A test reads it.
        Prices::parse(EMBEDDED, "").unwrap_or_default()
    }

    /// Reads a table of pier's form, or one of `LiteLLM`'s, which is JSON; `name` is what a document says it was read from.
    pub fn parse(text: &str, name: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            date: String,
            models: BTreeMap<String, Price>,
        }
        if text.trim_start().starts_with('{') {
            return Ok(Prices { source: name.to_owned(), models: of_litellm(text)? });
        }
        let Table { date, models } =
            toml::from_str(text).map_err(|error| Unreadable(error.message().to_owned()))?;
        let source = if name.is_empty() { format!("pier {date}") } else { name.to_owned() };
        let known =
            |price: &Price| [price.input, price.output].iter().all(|rate| *rate >= 0.0 && rate.is_finite());
        if let Some((model, _)) = models.iter().find(|(_, price)| !known(price)) {
            return Err(Unreadable(format!("the prices of `{model}` are no amounts")));
        }
        Ok(Prices { source, models })
    }

    /// Returns what a call costs, in US dollars; `None` where the model is not known.
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<f64> {
        let price = self.find(model)?;
        let (input, output, read, write) = match price.above {
            Some(above) if usage.prompt() > above.tokens => {
                (above.input, above.output, above.cache_read, above.cache_write)
            }
            _ => (price.input, price.output, price.cache_read, price.cache_write),
        };
        #[expect(clippy::cast_precision_loss, reason = "tokens are far fewer than 2^52")]
        let of = |tokens: u64, rate: f64| tokens as f64 * rate / 1e6;
        Some(
            of(usage.input, input)
                + of(usage.cache_read, read.unwrap_or(input))
                + of(usage.cache_write, write.unwrap_or(input))
                + of(usage.output, output),
        )
    }

    /// Finds a model by its whole name, then without its provider; the longest known beginning counts.
    fn find(&self, model: &str) -> Option<&Price> {
        let model = model.to_ascii_lowercase();
        if let Some(price) = self.models.get(&model) {
            return Some(price);
        }
        let name = model.rsplit('/').next().unwrap_or(&model);
        // Bedrock and Vertex write the vendor, too.
        let name = name.rsplit_once("anthropic.").map_or(name, |(_, name)| name);
        if let Some(price) = self.models.get(name) {
            return Some(price);
        }
        let variant = |known: &str| {
            name.strip_prefix(known).is_some_and(|rest| {
                rest.starts_with('@')
                    || rest.strip_prefix('-').is_some_and(|rest| {
                        rest == "latest" || rest.starts_with(|c: char| c.is_ascii_digit())
                    })
            })
        };
        self.models
            .iter()
            .filter(|(known, price)| !price.exactly && variant(known))
            .max_by_key(|(known, _)| known.len())
            .map(|(_, price)| price)
    }
}

/// Prices in `LiteLLM`'s table are for one token, under other names.
fn of_litellm(text: &str) -> Result<BTreeMap<String, Price>, Unreadable> {
    #[derive(Deserialize)]
    struct Row {
        input_cost_per_token: Option<f64>,
        output_cost_per_token: Option<f64>,
        cache_read_input_token_cost: Option<f64>,
        cache_creation_input_token_cost: Option<f64>,
        input_cost_per_token_above_200k_tokens: Option<f64>,
        output_cost_per_token_above_200k_tokens: Option<f64>,
        cache_read_input_token_cost_above_200k_tokens: Option<f64>,
        cache_creation_input_token_cost_above_200k_tokens: Option<f64>,
    }
    let rows: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| Unreadable(error.to_string()))?;
    let million = |rate: f64| rate * 1e6;
    let price = |(name, row): (String, serde_json::Value)| {
        // A row of another shape is no price of tokens.
        let row: Row = serde_json::from_value(row).ok()?;
        let (input, output) = (row.input_cost_per_token?, row.output_cost_per_token?);
        let above = row.input_cost_per_token_above_200k_tokens.map(|input| Above {
            tokens: 200_000,
            input: million(input),
            output: million(row.output_cost_per_token_above_200k_tokens.unwrap_or(output)),
            cache_read: row.cache_read_input_token_cost_above_200k_tokens.map(million),
            cache_write: row.cache_creation_input_token_cost_above_200k_tokens.map(million),
        });
        let price = Price {
            input: million(input),
            output: million(output),
            cache_read: row.cache_read_input_token_cost.map(million),
            cache_write: row.cache_creation_input_token_cost.map(million),
            above,
            exactly: true,
        };
        Some((name.to_ascii_lowercase(), price))
    };
    let models: BTreeMap<String, Price> = rows.into_iter().filter_map(price).collect();
    if models.is_empty() {
        return Err(Unreadable("it has no price of a token".to_owned()));
    }
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_tokens_has_its_price() {
        let prices = Prices::embedded();
        assert!(prices.models.len() > 40 && prices.source.starts_with("pier 20"), "{}", prices.source);
        let usage =
            Usage { input: 1000, cache_read: 2000, cache_write: 400, output: 100, ..Usage::default() };
        let cost = |model: &str| prices.cost(model, &usage);
        let expected = (1000.0 * 3.0 + 2000.0 * 0.3 + 400.0 * 3.75 + 100.0 * 15.0) / 1e6;
        for model in [
            "claude-sonnet-4-5",
            "anthropic/claude-sonnet-4-5-20250929",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "openrouter/anthropic/Claude-Sonnet-4-5",
            "claude-sonnet-4-5@20250929",
        ] {
            assert!((cost(model).unwrap() - expected).abs() < 1e-12, "{model}: {:?}", cost(model));
        }
        // A newer model is not an older one with something behind it.
        assert_eq!(cost("claude-sonnet-4-9"), None);
        assert_eq!(cost("gpt-5-unheard"), None);
        assert_eq!(cost("gpt-5.9"), None);
        assert!(cost("gpt-5-2025-08-07").is_some() && cost("gpt-5-mini-2025-08-07") < cost("gpt-5"));
    }

    #[test]
    fn a_long_prompt_costs_more() {
        let prices = Prices::embedded();
        let usage = |input| Usage { input, ..Usage::default() };
        assert_eq!(prices.cost("claude-sonnet-4-5", &usage(200_000)), Some(0.6));
        assert_eq!(prices.cost("claude-sonnet-4-5", &usage(200_001)), Some(1.200_006));
    }

    #[test]
    fn other_tables_are_read() {
        let text = r#"{"sample_spec":{"input_cost_per_token":"0.1"},"x/y":{"input_cost_per_token":1e-6,"output_cost_per_token":2e-6,"mode":"chat"}}"#;
        let prices = Prices::parse(text, "costs.json").unwrap();
        let usage = Usage { input: 10, output: 1, ..Usage::default() };
        assert_eq!(prices.cost("x/y", &usage), Some(12e-6));
        assert_eq!(prices.source, "costs.json");
        for text in ["{}", "{", "models = 1", "date = \"x\"\n[models]\na = { input = -1.0, output = 1.0 }"] {
            assert!(Prices::parse(text, "x").is_err(), "{text}");
        }
    }
}

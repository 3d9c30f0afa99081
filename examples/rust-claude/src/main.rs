use std::io::Read;

fn main() -> std::io::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    for (word, n) in word_count::count(&text) {
        println!("{n:>6} {word}");
    }
    Ok(())
}

//! What is in the corpus, and variations of it, are read without a panic, a hang or a lost line.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

use fastrand::Rng;
use fuzz::{LONGEST, TARGETS, Target, corpus};

/// Variations of each target; of those that start programs or write files fewer.
fn variations(target: &Target) -> usize {
    match target.name {
        "patches" => 5,
        "archive" | "spec" => 40,
        "document" | "history" => 150,
        _ => 500,
    }
}

/// Says which input it was, should feeding it panic.
struct Fed<'a> {
    target: &'a Target,
    input: &'a [u8],
}

impl Fed<'_> {
    fn feed(target: &Target, input: &[u8]) {
        let _fed = Fed { target, input };
        (target.feed)(input);
    }
}

impl Drop for Fed<'_> {
    #[allow(clippy::print_stderr)] // It is what a failed test says.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = self.input[..self.input.len().min(4000)].escape_ascii();
            eprintln!("the target {}, fed with {} bytes: \"{shown}\"", self.target.name, self.input.len());
        }
    }
}

/// The corpus of a target, in order.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let folder = corpus(target.name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Numbers and marks that parsers stumble over.
const MARKS: &[&[u8]] = &[
    b"18446744073709551615",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"4294967295",
    b"4294967296",
    b"1e308",
    b"-1",
    b"0",
    b"",
    b"\n",
    b"\r\n",
    b" ",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"[",
    b"{",
    b"\"",
    b"../",
];

/// An input that is like one of the corpus.
fn variation(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(seeds).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..=4) {
        let from = rng.usize(0..=input.len());
        let to = (from + rng.usize(0..=16)).min(input.len());
        match rng.u8(0..6) {
            // A bit or a byte of it is another.
            0 if from < input.len() => input[from] ^= 1 << rng.u8(0..8),
            1 if from < input.len() => input[from] = rng.u8(..),
            // It is cut, in the middle or at its end.
            2 => drop(input.drain(from..to)),
            3 => input.truncate(from),
            // A number of it is another, or something stands where nothing stood.
            4 => {
                let digits = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let mark = MARKS[rng.usize(0..MARKS.len())];
                input.splice(from..from + digits, mark.iter().copied());
            }
            // A part of it comes again elsewhere.
            _ => {
                let other = rng.choice(seeds).cloned().unwrap_or_default();
                let begin = rng.usize(0..=other.len());
                let end = (begin + rng.usize(0..=200)).min(other.len());
                input.splice(from..from, other[begin..end].iter().copied());
            }
        }
    }
    input
}

#[test]
fn the_corpus_and_variations_of_it_are_read() {
    for target in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{} has no corpus", target.name);
        for seed in &seeds {
            Fed::feed(target, seed);
        }
        // The same in every run.
        let mut rng = Rng::with_seed(1);
        for _ in 0..variations(target) {
            Fed::feed(target, &variation(&seeds, &mut rng));
        }
    }
}

/// A seed again and again, with other numbers each time, up to a length.
fn repeated(seed: &[u8], length: usize) -> Vec<u8> {
    let mut input = Vec::with_capacity(length);
    let mut round = 0u64;
    while input.len() + seed.len() < length {
        for piece in seed.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
            let number = std::str::from_utf8(piece).ok().and_then(|text| text.parse::<u64>().ok());
            match number {
                Some(number) => input.extend(number.wrapping_add(round).to_string().bytes()),
                None => input.extend(piece),
            }
        }
        round += 1;
    }
    input
}

/// Eight times the input takes some eight times as long where that grows with the length, and sixty-four times where it
/// grows with its square.
#[test]
fn a_long_input_takes_no_longer_than_its_length() {
    /// Between the two, with room for a host that does something else meanwhile.
    const MOST: u32 = 24;
    /// Shorter times are of the clock and the allocator.
    const WORTH_A_LOOK: Duration = Duration::from_millis(200);
    let starts_programs = |target: &&Target| !["patches", "archive", "spec"].contains(&target.name);
    for target in TARGETS.iter().filter(starts_programs) {
        for seed in seeds(target).iter().filter(|seed| !seed.is_empty()) {
            let [short, long] = [LONGEST / 8, LONGEST].map(|length| repeated(seed, length));
            let time = |input: &[u8]| {
                let begun = Instant::now();
                Fed::feed(target, input);
                begun.elapsed()
            };
            // Somebody may be in the way once.
            let grows = (0..3).all(|_| {
                let (short, long) = (time(&short), time(&long));
                long > WORTH_A_LOOK && long > short * MOST
            });
            let begin = seed[..seed.len().min(200)].escape_ascii();
            assert!(!grows, "{}: longer than its length, of \"{begin}\" again and again", target.name);
        }
    }
}

#[test]
fn the_corpus_is_small_and_each_folder_of_it_is_fed() {
    let all = corpus("").read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = all.collect();
    all.sort();
    let mut fed: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    fed.sort_unstable();
    assert_eq!(all, fed);
    let size: usize = TARGETS.iter().flat_map(seeds).map(|seed| seed.len()).sum();
    assert!(size < 300_000, "{size} bytes");
}

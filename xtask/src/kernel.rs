//! `kernel`: what the store holds, kernels built ahead, and what can go.

use std::path::Path;
use std::time::Duration;

use lab::failure::Failure;
use lab::host;
use lab::kernel::upkeep::{Item, What};
use lab::kernel::{Catalogue, Store};
use lab::watch::Watch;
use report::table::Table;

use crate::cli::{KernelArguments, KernelVerb};
use crate::exit;
use crate::screen::print;

pub(crate) fn run(arguments: &KernelArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let store = Store::open()?;
    match &arguments.verb {
        KernelVerb::List => {
            watch.stage("measure the store");
            print(&list(&store.items()?, store.root()));
        }
        KernelVerb::Build(arguments) => {
            let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
            let recipes = arguments.wanted().recipes(&catalogue, store.root(), watch)?.subjects();
            host::prepare(|| host::examine(&recipes), arguments.setup, watch)?;
            for kernel in store.ensure(&recipes, watch)? {
                print(&format!("{} {}\n", kernel.name, kernel.folder.display()));
            }
        }
        KernelVerb::Gc(arguments) => {
            watch.stage("measure the store");
            let items = store.items()?;
            let old = |item: &&Item| item.idle() >= arguments.older_than;
            let (mut freed, mut held) = (0, 0);
            for item in items.iter().filter(old) {
                let gone = if arguments.dry_run { store.could_remove(item)? } else { store.remove(item)? };
                let word = match (arguments.dry_run, gone) {
                    (true, true) => "would remove",
                    (false, true) => "removed",
                    (true, false) => "in use      ",
                    (false, false) => "in use ",
                };
                print(&format!("{word}  {}  {}\n", size(item.bytes), item.path.display()));
                *if gone { &mut freed } else { &mut held } += item.bytes;
            }
            let kept = items.iter().map(|item| item.bytes).sum::<u64>() - freed;
            let word = if arguments.dry_run { "would free" } else { "freed" };
            print(&format!("{word} {}, {} stay\n", size(freed), size(kept)));
            if held > 0 {
                print(&format!("{} are in use by a run that is under way\n", size(held)));
            }
        }
    }
    Ok(exit::SUPPORTED)
}

fn list(items: &[Item], root: &Path) -> String {
    let mut table = Table::new(&["what", "size", "last used", "release", "made of"]).words_last();
    for item in items {
        let name = item.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (release, made_of) = match &item.what {
            What::Kernel(Some(identity)) => {
                let pieces = [&identity.patches[..], &identity.config].concat();
                let names = std::iter::once(&identity.source).chain(&pieces).map(|piece| piece.name.clone());
                (identity.release.clone(), names.collect::<Vec<_>>().join(" + "))
            }
            What::Kernel(None) => {
                ("-".to_owned(), "cannot be read: it is built again when it is asked for".to_owned())
            }
            What::Source => ("-".to_owned(), "a source and its object trees".to_owned()),
            What::Download => ("-".to_owned(), "a download".to_owned()),
            What::Patches => ("-".to_owned(), "a patch".to_owned()),
            What::Leftover => ("-".to_owned(), "left by an interrupted run".to_owned()),
        };
        table.row(vec![name, size(item.bytes), age(item.idle()), release, made_of]);
    }
    let all: u64 = items.iter().map(|item| item.bytes).sum();
    format!("{}\n{} in {}\n", table.render(), size(all), root.display())
}

fn size(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn age(idle: Duration) -> String {
    const DAY: u64 = 24 * 3600;
    match idle.as_secs() {
        secs if secs < 3600 => format!("{} min ago", secs / 60),
        secs if secs < 2 * DAY => format!("{} h ago", secs / 3600),
        secs => format!("{} d ago", secs / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_told_in_units_of_a_person() {
        assert_eq!(
            [0, 3599, 7200, 3 * 86400].map(|secs| age(Duration::from_secs(secs))),
            ["0 min ago", "59 min ago", "2 h ago", "3 d ago"]
        );
        assert_eq!([0, 1, 5 << 20].map(size), ["0 MiB", "1 MiB", "5 MiB"]);
    }
}

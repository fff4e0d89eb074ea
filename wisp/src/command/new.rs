//! `wisp new`: makes a project that `wisp build` builds and `wisp up` runs.

mod template;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use wisp_api::validate::is_dns_label;

use crate::command::build::Language;

/// As long as a function's name may be; see `wisp_api::validate`.
const NAME_MAX: usize = 50;

/// Arguments of `wisp new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// The function's name.
    #[arg(value_parser = name)]
    pub(crate) name: String,
    /// The language.
    #[arg(long, short, value_enum, default_value = "rust")]
    pub(crate) lang: Language,
    /// The folder to make [default: the name].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}

/// Writes the project and says what comes next.
///
/// # Errors
/// When the folder holds something already, or cannot be written.
pub(crate) fn run(args: NewArgs) -> anyhow::Result<()> {
    let folder = args.dir.unwrap_or_else(|| PathBuf::from(&args.name));
    write(&folder, &args.name, args.lang)?;
    let (name, shown) = (&args.name, folder.display());
    println!("made {shown}: a function in {}. Next:", args.lang);
    println!("  wisp build {shown}\n  wisp up {shown}\n  curl http://{name}.default.localhost:8080/");
    Ok(())
}

fn write(folder: &Path, name: &str, language: Language) -> anyhow::Result<()> {
    let is_empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    ensure!(is_empty, "{} is not empty; choose another name, or another folder with --dir", folder.display());
    for (path, content) in template::files(language) {
        let file = folder.join(path);
        let parent = file.parent().expect("it is in the folder");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&file, content.replace("{{name}}", name)))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn name(text: &str) -> Result<String, String> {
    // Cargo and npm want a letter first, and so does a Service of that name.
    if is_dns_label(text, NAME_MAX) && text.starts_with(|c: char| c.is_ascii_lowercase()) {
        Ok(text.to_owned())
    } else {
        Err(format!("use at most {NAME_MAX} lower-case letters, digits and '-', a letter first, no '-' last"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::manifest;
    use clap::ValueEnum;

    #[test]
    fn every_template_makes_a_valid_function_of_its_language() {
        for language in Language::value_variants() {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), "my-shop", *language).unwrap();
            let function = manifest::read(&folder.path().join("function.yaml")).unwrap();
            assert_eq!(function.key.to_string(), "default/my-shop");
            assert_eq!(function.spec.component.path.as_deref(), Some("build/my-shop.wasm"));
            assert_eq!(Language::detect(folder.path()).unwrap(), *language);
        }
    }

    #[test]
    fn no_placeholder_is_left() {
        for language in Language::value_variants() {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), "my-shop", *language).unwrap();
            for (path, _) in template::files(*language) {
                let text = fs::read_to_string(folder.path().join(path)).unwrap();
                assert!(!text.contains("{{"), "{language}: {path}");
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "").unwrap();
        let error = write(folder.path(), "hello", Language::C).unwrap_err().to_string();
        assert!(error.contains("is not empty"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_are_dns_labels_with_a_letter_first() {
        for good in ["hello", "a", "my-shop-2"] {
            assert_eq!(name(good), Ok(good.to_owned()));
        }
        let long = "a".repeat(NAME_MAX + 1);
        for bad in ["", "Hello", "my_shop", "-a", "a-", "2nd", "a.b", "../x", &long] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}

//! Whether a peer is who it says it is. Pure.

use wisp_api::RevisionKey;
use wisp_api::wire::InstanceHello;
use wisp_kubernetes::Identity;

use super::roster::PodFact;

/// The ServiceAccount of activators.
const ACTIVATOR: &str = "wisp-activator";

/// An instance must show the token of its own pod, and speak for nothing else.
///
/// # Errors
/// What does not agree.
pub(crate) fn check_instance(hello: &InstanceHello, identity: &Identity, pod: &PodFact) -> Result<(), String> {
    let Some(owner) = &identity.pod else {
        return Err("its token is bound to no pod; only a projected token of the pod will do".to_owned());
    };
    if hello.instance != owner.uid || pod.uid != owner.uid {
        return Err(format!("it says that it is {:?} and shows the token of pod {:?}", hello.instance, owner.uid));
    }
    if hello.namespace != identity.namespace || pod.namespace != identity.namespace {
        return Err(format!("it says namespace {:?}, and its token is of {:?}", hello.namespace, identity.namespace));
    }
    let told = told_revision(hello);
    if told.as_ref().is_some_and(|told| told.namespace != pod.namespace) {
        return Err(format!("it serves {:?}, which is of another namespace", hello.revision));
    }
    match (&pod.revision, told) {
        (Some(held), Some(told)) if *held != told => {
            Err(format!("its pod is of revision {held}, and it serves {told}"))
        }
        (None, _) if pod.pool.is_none() => Err("its pod is neither a pool's nor a revision's".to_owned()),
        _ => Ok(()),
    }
}

/// An activator must show the token of the activators' account.
///
/// # Errors
/// Whose it is instead.
pub(crate) fn check_activator(identity: &Identity, system_namespace: &str) -> Result<(), String> {
    if identity.namespace == system_namespace && identity.service_account == ACTIVATOR {
        return Ok(());
    }
    Err(format!("its token is that of {}/{}, no activator's", identity.namespace, identity.service_account))
}

/// The revision that a host says it has.
pub(crate) fn told_revision(hello: &InstanceHello) -> Option<RevisionKey> {
    match hello.revision.split_once('/') {
        Some((namespace, name)) => Some(RevisionKey::new(namespace, name)),
        None if hello.revision.is_empty() => None,
        None => Some(RevisionKey::new(&hello.namespace, &hello.revision)),
    }
}

#[cfg(test)]
mod tests {
    use wisp_kubernetes::identity::PodIdentity;

    use super::*;

    fn identity(namespace: &str, account: &str, uid: Option<&str>) -> Identity {
        let pod = uid.map(|uid| PodIdentity { name: format!("pod-{uid}"), uid: uid.to_owned() });
        Identity { namespace: namespace.to_owned(), service_account: account.to_owned(), pod }
    }

    fn hello(namespace: &str, instance: &str, revision: &str) -> InstanceHello {
        let (namespace, instance, revision) = (namespace.to_owned(), instance.to_owned(), revision.to_owned());
        InstanceHello { namespace, instance, revision, ..InstanceHello::default() }
    }

    fn pod(uid: &str, pool: Option<&str>, revision: Option<&str>) -> PodFact {
        let revision = revision.map(|name| RevisionKey::new("shop", name));
        let (namespace, name) = ("shop".to_owned(), format!("pod-{uid}"));
        PodFact { namespace, name, uid: uid.to_owned(), pool: pool.map(str::to_owned), revision }
    }

    #[test]
    fn an_instance_speaks_for_its_own_pod_only() {
        let (warm, cart) = (pod("1", Some("default"), None), pod("1", None, Some("cart-00001")));
        let own = identity("shop", "default", Some("1"));
        for (why, hello, identity, pod, accepted) in [
            ("a warm one", hello("shop", "1", ""), &own, &warm, true),
            ("a fresh one", hello("shop", "1", "cart-00001"), &own, &cart, true),
            ("its full name", hello("shop", "1", "shop/cart-00001"), &own, &cart, true),
            ("claimed, not yet told", hello("shop", "1", ""), &own, &cart, true),
            ("claimed, the label is late", hello("shop", "1", "cart-00001"), &own, &warm, true),
            ("another's name", hello("shop", "2", ""), &own, &warm, false),
            ("another's pod", hello("shop", "1", ""), &identity("shop", "default", Some("2")), &warm, false),
            ("no pod", hello("shop", "1", ""), &identity("shop", "default", None), &warm, false),
            ("another's namespace", hello("bank", "1", ""), &own, &warm, false),
            ("a token of elsewhere", hello("bank", "1", ""), &identity("bank", "default", Some("1")), &warm, false),
            ("another's revision", hello("shop", "1", "other-00001"), &own, &cart, false),
            ("a revision of elsewhere", hello("shop", "1", "bank/vault-00001"), &own, &warm, false),
            ("a pod of nobody", hello("shop", "1", ""), &own, &pod("1", None, None), false),
        ] {
            let found = check_instance(&hello, identity, pod);
            assert_eq!(found.is_ok(), accepted, "{why}: {found:?}");
        }
    }

    #[test]
    fn only_the_activators_account_is_an_activator() {
        for (namespace, account, accepted) in [
            ("wisp-system", "wisp-activator", true),
            ("wisp-system", "default", false),
            ("shop", "wisp-activator", false),
        ] {
            assert_eq!(check_activator(&identity(namespace, account, None), "wisp-system").is_ok(), accepted);
        }
    }
}

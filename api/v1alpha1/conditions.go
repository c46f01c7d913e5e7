package v1alpha1

// The condition types of an AcmeServer. This file is the only place where a
// condition's type or reason is written.
const (
	// ConditionReady says that everything the spec asks for is there and works.
	// Its reason and message are those of the first condition that is not True.
	ConditionReady = "Ready"
	// ConditionDatabaseReady says that the database can be reached and has the
	// schema that the server of this operator works with.
	ConditionDatabaseReady = "DatabaseReady"
	// ConditionCertificateAuthorityReady says that there is a certificate and a
	// key to sign with, now.
	ConditionCertificateAuthorityReady = "CertificateAuthorityReady"
	// ConditionAvailable says that at least one server answers, or none is asked for.
	ConditionAvailable = "Available"
	// ConditionClusterIssuerReady says that cert-manager has registered with the
	// server. Absent where spec.clusterIssuer.enabled is false.
	ConditionClusterIssuerReady = "ClusterIssuerReady"
	// ConditionIssuanceRestricted says whether clients prove that the names they
	// ask for are theirs. It warns; Ready does not depend on it.
	ConditionIssuanceRestricted = "IssuanceRestricted"
	// ConditionGarbageCollected says that what is expired or old goes from the
	// database. Ready does not depend on it. Absent until the first collection, and
	// where spec.garbageCollection.interval is 0s.
	ConditionGarbageCollected = "GarbageCollected"
	// ConditionRateLimitPolicyEnforced says that every server at work enforces the
	// limits that the spec asks for. Ready does not depend on it: where it is not
	// True, other limits are in force.
	ConditionRateLimitPolicyEnforced = "RateLimitPolicyEnforced"
)

// The condition types of an AcmeRateLimitPolicy.
const (
	// ConditionAccepted says that the spec is one that servers can enforce.
	ConditionAccepted = "Accepted"
	// ConditionEnforced says that every server at work of every AcmeServer that
	// refers to the policy enforces it as it is now.
	ConditionEnforced = "Enforced"
)

// ServerConditions lists the condition types in the order in which they come
// true; Ready takes its message from the first that is not.
var ServerConditions = []string{
	ConditionDatabaseReady,
	ConditionCertificateAuthorityReady,
	ConditionAvailable,
	ConditionClusterIssuerReady,
}

// The reasons of conditions that are True.
const (
	ReasonReady        = "Ready"        // Ready, ClusterIssuerReady
	ReasonConnected    = "Connected"    // DatabaseReady: reached and migrated
	ReasonIssued       = "Issued"       // CertificateAuthorityReady: made by the operator
	ReasonProvided     = "Provided"     // CertificateAuthorityReady: read from spec.ca.secretRef
	ReasonServing      = "Serving"      // Available
	ReasonScaledToZero = "ScaledToZero" // Available: spec.replicas is 0
	ReasonChallenge    = "Challenge"    // IssuanceRestricted
	ReasonCollected    = "Collected"    // GarbageCollected
	ReasonEnforced     = "Enforced"     // Enforced, RateLimitPolicyEnforced
	ReasonAccepted     = "Accepted"     // Accepted
)

// The reasons of conditions that are not True. Each one's message says what to do.
const (
	ReasonWaiting            = "Waiting"            // for another condition of the same AcmeServer
	ReasonProgressing        = "Progressing"        // Kubernetes or cert-manager is at work
	ReasonSecretMissing      = "SecretMissing"      // a referenced Secret, or a key of it
	ReasonSecretInvalid      = "SecretInvalid"      // a Secret holds something else than it should
	ReasonUnreachable        = "Unreachable"        // the database does not answer, or refuses
	ReasonExpired            = "Expired"            // the authority's certificate is past its end
	ReasonUnavailable        = "Unavailable"        // no server is ready
	ReasonCertManagerMissing = "CertManagerMissing" // cert-manager's CRDs are not installed
	ReasonNotRegistered      = "NotRegistered"      // cert-manager could not register
	ReasonNameTaken          = "NameTaken"          // an object of that name belongs to somebody else
	ReasonNotAllowed         = "NotAllowed"         // ClusterIssuerReady: the operator's flags keep it from this namespace
	ReasonRejected           = "Rejected"           // the API server refused an object
	ReasonError              = "Error"              // anything else; retried
	ReasonSweepFailed        = "SweepFailed"        // GarbageCollected: tried again after the interval
	ReasonTrusted            = "Trusted"            // IssuanceRestricted: spec.validation.mode is Trusted
	ReasonPolicyMissing      = "PolicyMissing"      // RateLimitPolicyEnforced: what rateLimitPolicyRef names
	ReasonPolicyInvalid      = "PolicyInvalid"      // Accepted, Enforced, RateLimitPolicyEnforced
	ReasonNotReferenced      = "NotReferenced"      // Enforced: no AcmeServer refers to the policy
)

// The reasons of events that are of no condition.
const (
	ReasonUnpaused  = "Unpaused"  // as the annotation of the policy asks
	ReasonNotPaused = "NotPaused" // the annotation names what has not failed
	ReasonLeftOut   = "LeftOut"   // the annotation has more than is done
)

package acme

// RateLimitPolicy is what limits are in force, as the store keeps it for all
// replicas. The zero value is the built-in defaults of [Limits].
type RateLimitPolicy struct {
	// Generation tells policies of one server apart; replicas report the one that
	// they enforce.
	Generation int64 `json:"generation"`
	// DryRun counts and reports what would be refused, and refuses nothing.
	DryRun bool `json:"dryRun,omitempty"`
	// LimitRenewals takes away the exemption of renewals: orders that replace a
	// certificate (RFC 9773 §5), or have exactly the identifiers of one.
	LimitRenewals bool `json:"limitRenewals,omitempty"`
	// Limits replace the defaults, by name.
	Limits map[LimitName]Limit `json:"limits,omitempty"`
	// Overrides are for single subjects.
	Overrides []LimitOverride `json:"overrides,omitempty"`
	// RequestsPerAddress guards each replica against floods from one address, in
	// memory; no limit where its count is 0.
	RequestsPerAddress Limit `json:"requestsPerAddress,omitzero"`
}

// LimitOverride is a limit of one subject.
type LimitOverride struct {
	Limit   LimitName `json:"limit"`
	Subject string    `json:"subject"`
	Of      Limit     `json:"of"`
}

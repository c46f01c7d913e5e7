// Package issuance is the certificate authority: it checks certificate requests,
// signs certificates by profile, makes the server's own certificate, and makes
// authorities.
//
// It promises that a certificate which [Authority.Issue] returned says what the
// order asked and the profile allows, and nothing that the request brought along
// but its key; and that it verifies, for as long as it lasts, against the roots.
// It keeps nothing: recording a certificate before it leaves is the store's part.
// It knows neither HTTP nor where keys are kept: a [crypto.Signer] is all it asks.
package issuance

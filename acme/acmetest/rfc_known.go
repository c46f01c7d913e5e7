package acmetest

// ServerDifferences explains where our own server differs from the letter, by the
// sentence of the check ([Target.Known]), whatever store it has.
func ServerDifferences() map[string]string {
	return map[string]string{
		"a valid order is orderNotReady, 403": "a client whose connection broke in finalize asks again, and is given the certificate that was issued",
		"a notAfter that cannot be granted is refused": "an end beyond the profile's lifetime is clamped to it: clients ask by " +
			"durations of their own configuration, and a refusal would be final for them",
	}
}

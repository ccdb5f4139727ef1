package api

import "strings"

// MaxName is the most characters a name may have.
const MaxName = 63

// ValidateName checks the name of a job, node or token: 1 to 63 of a-z, 0-9
// and '-', beginning and ending with a letter or digit, so that a name can be
// a DNS label, a folder and a cgroup.
func ValidateName(field, name string) error {
	switch {
	case name == "":
		return FieldErrorf(field, "is empty: give 1 to %d of a-z, 0-9 and '-'", MaxName)
	case len(name) > MaxName:
		return FieldErrorf(field, "has %d characters, at most %d are allowed", len(name), MaxName)
	}
	for i, r := range name {
		alnum := r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		if !alnum && (r != '-' || i == 0 || i == len(name)-1) {
			return FieldErrorf(field, "%q has %q at position %d: use a-z, 0-9 and '-', begin and end with a letter or digit", name, r, i+1)
		}
	}
	return nil
}

// ValidatePartition checks a partition path such as "prod" or "ml/train".
func ValidatePartition(field, path string) error {
	parts := strings.Split(path, "/")
	if len(parts) > 8 {
		return FieldErrorf(field, "%q is %d levels deep, at most 8 are allowed", path, len(parts))
	}
	for _, p := range parts {
		if err := ValidateName(field, p); err != nil {
			return err
		}
	}
	return nil
}

// ValidateAttrs checks node attributes: at most 64, keys of a-z, 0-9, '.', '-'
// and '_', values of at most 255 printable characters.
func ValidateAttrs(field string, attrs map[string]string) error {
	return validatePairs(field, "attribute", attrs)
}

func validatePairs(field, what string, pairs map[string]string) error {
	if len(pairs) > 64 {
		return FieldErrorf(field, "has %d %ss, at most 64 are allowed", len(pairs), what)
	}
	for k, v := range pairs {
		if k == "" || len(k) > MaxName || strings.Trim(k, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != "" {
			return FieldErrorf(field, "%q is not a valid %s name: use letters, digits, '.', '-' and '_', at most %d", k, what, MaxName)
		}
		if len(v) > 255 || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 127 }) {
			return FieldErrorf(field, "the value of %q must be at most 255 printable characters", k)
		}
	}
	return nil
}

// LeastOfID is the fewest characters that stand for a longer id, as in git: the
// slip of a key, or a short name, is not the beginning of some node's id.
const LeastOfID = 4

// BeginsID reports whether text is an id, or enough of its beginning.
func BeginsID(id, text string) bool {
	return text != "" && id == text || len(text) >= LeastOfID && strings.HasPrefix(id, text)
}

package api

import (
	"slices"
	"strings"
)

// RightRoles are the roles of rights, each with all that the one before may.
var RightRoles = []string{"viewer", "deployer", "operator", "admin"}

// MaxRights bounds the rights of a token.
const MaxRights = 32

// Right is what somebody may, and where: ROLE of the whole cluster,
// ROLE@PARTITION of it and all below it, ROLE@PARTITION/PREFIX* of the jobs there
// that are called so, ROLE@PREFIX* of such jobs in any partition. Rights add up.
type Right struct {
	Role      string
	Partition string // "" = all
	Jobs      string // the names of the jobs begin so; "" = all
}

func (r Right) String() string {
	switch {
	case r.Jobs == "" && r.Partition == "":
		return r.Role
	case r.Jobs == "":
		return r.Role + "@" + r.Partition
	case r.Partition == "":
		return r.Role + "@" + r.Jobs + "*"
	}
	return r.Role + "@" + r.Partition + "/" + r.Jobs + "*"
}

// ParseRight reads a right as String writes it.
func ParseRight(s string) (Right, error) {
	role, scope, scoped := strings.Cut(s, "@")
	r := Right{Role: role, Partition: scope}
	if !slices.Contains(RightRoles, role) {
		return Right{}, FieldErrorf("role", "%q is none of %s, alone or with @PARTITION or @PREFIX*", s, strings.Join(RightRoles, ", "))
	}
	if !scoped {
		return r, nil
	}
	if before, ok := strings.CutSuffix(scope, "*"); ok {
		i := strings.LastIndexByte(before, '/')
		r.Partition, r.Jobs = before[:max(i, 0)], before[i+1:]
		if i == 0 || r.Jobs == "" {
			return Right{}, FieldErrorf("role", "%q names no jobs: give the beginning of their names before the *, or a partition without it", s)
		}
		if err := ValidateName("role", strings.TrimRight(r.Jobs, "-")); err != nil {
			return Right{}, err
		}
		if r.Role == "admin" || r.Role == "operator" {
			return Right{}, FieldErrorf("role", "%q does not go: over jobs alone there is no more to decide than a deployer may", s)
		}
		if r.Partition == "" {
			return r, nil
		}
	}
	return r, ValidatePartition("role", r.Partition)
}

// Covers reports whether the right is of what is in that partition, and of the job
// of that name; "" = of all jobs there, or of the whole cluster.
func (r Right) Covers(partition, job string) bool {
	inside := r.Partition == "" || partition == r.Partition || strings.HasPrefix(partition, r.Partition+"/")
	return inside && (r.Jobs == "" || job != "" && strings.HasPrefix(job, r.Jobs))
}

// ValidateRights checks a list of rights.
func ValidateRights(field string, rights []string) error {
	if len(rights) > MaxRights {
		return FieldErrorf(field, "%s, at most %d are allowed: give one for a partition above", Count(len(rights), "right"), MaxRights)
	}
	for _, s := range rights {
		if r, err := ParseRight(s); err != nil {
			return InField(field, err)
		} else if r.String() != s {
			return FieldErrorf(field, "%q is written %q", s, r)
		}
	}
	return nil
}

package keys

import (
	"crypto"
	"fmt"
)

// demonstrations are keys whose private halves are printed where everybody reads them, by
// their thumbprints (RFC 7638).
var demonstrations = map[string]string{
	"--TtUwGiZdsZ49C7lz6E3G1ET5XhNBPOy7WudTJcBl4": "cc-backend's env-template.txt",
	"2-Yr4ayV2NmgtwJY9hrrlXrsx3_Z2Qo4L8b2UVwXWsY": "the examples of the OSG token operator and of Nautilus",
	"19J8y7Zprt2-QKLjF2I5pVk0OELX6cY2AfaAv1LC_w8": "the debugger of jwt.io (ES256)",
	"oGDmHqCJ7yzMkWEkrlZVHkvrHIyQwtlDmeq5ForUHeY": "the debugger of jwt.io (RS256)",
	"oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U": "RFC 7515 appendix A.3",
	"cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s": "RFC 7517 appendix A.2 (EC)",
	"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": "RFC 7517 appendix A.2 (RSA)",
	"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": "RFC 8037 appendix A.1",
}

// Demonstration says where the private half of the key is printed for everybody; "" for a
// key that is not known for that.
func Demonstration(public crypto.PublicKey) string {
	id, err := thumbprint(public)
	if err != nil {
		return ""
	}
	return demonstrations[id]
}

// RefuseDemonstration is an error for a key that everybody has (see [Demonstration]).
func RefuseDemonstration(k Key) error {
	if where := Demonstration(k.Public()); where != "" {
		return fmt.Errorf("it is a demonstration key, which %s prints, so everybody can sign with it; make one of your own with tokenagent key create, and publish its public half in its place", where)
	}
	return nil
}

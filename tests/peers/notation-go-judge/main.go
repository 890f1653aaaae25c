// notation-go-judge lets notation's own library judge our signatures and make signatures for us to judge.
//
//	notation-go-judge verify REFERENCE CERTIFICATE.pem
//	notation-go-judge sign   REFERENCE KEY.pem CERTIFICATE.pem     (makes both files if they are missing)
//	notation-go-judge certificate REFERENCE OUT.pem                 (takes the certificate out of the first signature)
//
// REFERENCE is host:port/repository@sha256:digest, over plain HTTP. The trust store holds the one certificate, the policy
// is strict but for revocation, which a self-signed certificate has nowhere to ask for. Ends with 0 for yes, 1 for no.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
)

type store struct{ certificate *x509.Certificate }

func (s store) GetCertificates(_ context.Context, kind truststore.Type, name string) ([]*x509.Certificate, error) {
	if kind != truststore.TypeCA || name != "only" {
		return nil, errors.New("there is no such trust store")
	}
	return []*x509.Certificate{s.certificate}, nil
}

func open(reference string) (registry.Repository, error) {
	repository, err := remote.NewRepository(strings.SplitN(reference, "@", 2)[0])
	if err != nil {
		return nil, err
	}
	repository.PlainHTTP = true
	return registry.NewRepository(repository), nil
}

func verify(ctx context.Context, reference, file string) error {
	repository, err := open(reference)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New(file + " is not PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	policy := trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name:           "only",
		RegistryScopes: []string{"*"},
		SignatureVerification: trustpolicy.SignatureVerification{
			VerificationLevel: "strict",
			Override:          map[trustpolicy.ValidationType]trustpolicy.ValidationAction{trustpolicy.TypeRevocation: trustpolicy.ActionSkip},
		},
		TrustStores:       []string{"ca:only"},
		TrustedIdentities: []string{"*"},
	}}}
	judge, err := verifier.New(&policy, store{certificate}, nil)
	if err != nil {
		return err
	}
	options := notation.VerifyOptions{ArtifactReference: reference, MaxSignatureAttempts: 16}
	subject, outcomes, err := notation.Verify(ctx, judge, repository, options)
	for _, outcome := range outcomes {
		if outcome.Error != nil {
			fmt.Fprintln(os.Stderr, outcome.Error)
		}
		for _, result := range outcome.VerificationResults {
			if result.Error != nil {
				fmt.Fprintln(os.Stderr, result.Type, result.Error)
			}
		}
	}
	if err != nil {
		return err
	}
	fmt.Println(subject.Digest)
	return nil
}

func makePair(keyFile, certificateFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{Country: []string{"XX"}, Province: []string{"none"}, Organization: []string{"judge"}, CommonName: "judge"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(certificateFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func sign(ctx context.Context, reference, keyFile, certificateFile string) error {
	if _, err := os.Stat(keyFile); errors.Is(err, os.ErrNotExist) {
		if err := makePair(keyFile, certificateFile); err != nil {
			return err
		}
	}
	repository, err := open(reference)
	if err != nil {
		return err
	}
	by, err := signer.NewFromFiles(keyFile, certificateFile)
	if err != nil {
		return err
	}
	subject, err := notation.Sign(ctx, by, repository, notation.SignOptions{
		SignerSignOptions: notation.SignerSignOptions{SignatureMediaType: "application/jose+json"},
		ArtifactReference: reference,
	})
	if err != nil {
		return err
	}
	fmt.Println(subject.Digest)
	return nil
}

func certificate(ctx context.Context, reference, out string) error {
	repository, err := open(reference)
	if err != nil {
		return err
	}
	subject, err := repository.Resolve(ctx, reference)
	if err != nil {
		return err
	}
	found := errors.New("there is no signature of notation")
	err = repository.ListSignatures(ctx, subject, func(manifests []ocispec.Descriptor) error {
		for _, manifest := range manifests {
			text, _, err := repository.FetchSignatureBlob(ctx, manifest)
			if err != nil {
				return err
			}
			var envelope struct {
				Header struct {
					X5c []string `json:"x5c"`
				} `json:"header"`
			}
			if err := json.Unmarshal(text, &envelope); err != nil {
				return err
			}
			der, err := base64.StdEncoding.DecodeString(envelope.Header.X5c[0])
			if err != nil {
				return err
			}
			found = os.WriteFile(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return found
}

func run(arguments []string) error {
	ctx := context.Background()
	switch {
	case len(arguments) == 3 && arguments[0] == "verify":
		return verify(ctx, arguments[1], arguments[2])
	case len(arguments) == 4 && arguments[0] == "sign":
		return sign(ctx, arguments[1], arguments[2], arguments[3])
	case len(arguments) == 3 && arguments[0] == "certificate":
		return certificate(ctx, arguments[1], arguments[2])
	}
	return errors.New("notation-go-judge verify|sign|certificate REFERENCE FILE...")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

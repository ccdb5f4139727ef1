package rows

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

func command() *v1.CommandInfo {
	return &v1.CommandInfo{Value: new("run"), Environment: &v1.Environment{Variables: []*v1.EnvironmentVariable{{Name: "KEY", Value: new("secret")}, {Name: "REF", Secret: &v1.Secret{Type: new(v1.SecretTypeReference), Reference: &v1.SecretReference{Name: "secret"}}}}},
		URIs: []*v1.CommandInfoURI{{Value: "https://ann:secret@example.org/app.tgz?key=secret#secret"}, {Value: "/opt/tool"}, {Value: "ann:secret@example.org:app"}}}
}

func container() *v1.ContainerInfo {
	image := func() *v1.Image {
		return &v1.Image{Type: v1.ImageTypeDocker, Docker: &v1.ImageDocker{Name: "web", Credential: &v1.Credential{Principal: "ann", Secret: new("secret")}, Config: &v1.Secret{Value: &v1.SecretValue{Data: []byte("secret")}}}}
	}
	return &v1.ContainerInfo{Type: v1.ContainerInfoTypeDocker, Docker: &v1.ContainerInfoDockerInfo{Image: "web", Parameters: []*v1.Parameter{{Key: "env", Value: "KEY=secret"}}}, Mesos: &v1.ContainerInfoMesosInfo{Image: image()},
		Volumes: []*v1.Volume{{ContainerPath: "data", Mode: v1.VolumeModeRw, Image: image(), Source: &v1.VolumeSource{Secret: &v1.Secret{Value: &v1.SecretValue{Data: []byte("secret")}},
			DockerVolume: &v1.VolumeSourceDockerVolume{Name: "v", DriverOptions: &v1.Parameters{Parameter: []*v1.Parameter{{Key: "k", Value: "secret"}}}}}}}}
}

// What may be a secret is left out for who may not read it, and what it is about is told.
func TestSecretsAreLeftOut(t *testing.T) {
	b, err := wire.Marshal(wire.Protobuf, &About{Framework: &v1.FrameworkInfo{User: "ann", Name: "shop"}, Executor: &v1.ExecutorInfo{ExecutorID: &v1.ExecutorID{Value: "e"}, Data: []byte("secret"), Command: command(), Container: container()}})
	if err != nil {
		t.Fatal(err)
	}
	task := &v1.Task{Name: "t", TaskID: &v1.TaskID{}, FrameworkID: &v1.FrameworkID{}, AgentID: &v1.AgentID{}, State: v1.TaskStateRunning, Container: container(), HealthCheck: &v1.HealthCheck{Command: command()}}
	maskTask(task)
	executor := Of(fsm.NewStore(nil).View(), auth.Identity{Rights: "viewer"}).Executor(&api.Task{Job: "j", Framework: &api.FrameworkTask{IsExecutor: true, Info: b}})
	for name, m := range map[string]any{"task": task, "executor": executor} {
		b, err := wire.Marshal(wire.JSON, m)
		if err != nil {
			t.Fatal(err)
		}
		s := string(b)
		if strings.Contains(s, "secret\"") || strings.Contains(s, "secret@") || strings.Contains(s, "c2VjcmV0") || strings.Contains(s, "=secret") {
			t.Errorf("%s: %s", name, s)
		}
		for _, told := range []string{`"KEY"`, `"https://example.org/app.tgz"`, `"/opt/tool"`, `"web"`, `"env"`, `"data"`, api.Masked} {
			if !strings.Contains(s, told) {
				t.Errorf("%s does not tell %s: %s", name, told, s)
			}
		}
	}
}

"""The files of deploy/ fit the program, and the tools that read them accept them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from marquee import __version__
from marquee.settings import Settings, environment_name
from service.app import create_app
from service.services import Services

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
MANIFEST: dict[str, dict[str, Any]] = {
    one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
}
POD = MANIFEST["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
SET = {one["name"]: one["value"] for one in CONTAINER["env"]}
UNIT = (DEPLOY / "marquee.service").read_text(encoding="utf-8")
NGINX = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
CADDY = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
DEFAULTS = {environment_name(field): info.default for field, info in Settings.model_fields.items()}
_UNITS = {"m": 2**20, "MB": 10**6}


def tool(name: str) -> str:
    """The path of a tool, or a skipped test."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not found:
        pytest.skip(f"{name} is not installed (apt-get install {name.replace('-analyze', '')})")
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def in_unit(name: str) -> list[str]:
    """The values of a key of the unit, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


# --- Kubernetes ---


def test_the_pods_of_the_deployment_are_those_of_the_service() -> None:
    labels = MANIFEST["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert MANIFEST["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFEST["Service"]["spec"]["selector"] == labels
    assert MANIFEST["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    (port,) = MANIFEST["Service"]["spec"]["ports"]
    assert [port["targetPort"]] == [one["name"] for one in CONTAINER["ports"]]


def test_ports_and_folders_are_those_of_the_image() -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert [str(one["containerPort"]) for one in CONTAINER["ports"]] == sorted(set(re.findall(r"EXPOSE (\d+)", image)))
    (folder,) = re.findall(r"^WORKDIR (.*)$", image, re.MULTILINE)
    paths = {one["name"]: one["mountPath"] for one in CONTAINER["volumeMounts"]}
    assert paths["var"] == f"{folder}/var"
    assert paths.keys() == {one["name"] for one in POD["volumes"]}
    assert CONTAINER["image"].rpartition(":")[2] == __version__


def test_the_container_may_write_to_its_volumes_only_and_is_not_root() -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert {str(POD["securityContext"]["runAsUser"])} == set(re.findall(r"^USER (\d+)$", image, re.MULTILINE))
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["resources"]["limits"].keys() == CONTAINER["resources"]["requests"].keys()


def test_probes_are_routes_and_wait_as_long_as_a_start_takes() -> None:
    app = create_app(Services(lambda options: None, lambda: None, lambda: None, "tmdb"))  # type: ignore[arg-type, return-value]
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = CONTAINER[name]["httpGet"]
        assert probe["port"] == CONTAINER["ports"][0]["name"]
        assert probe["path"] in routes, name
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/healthz"  # it does not depend on an endpoint
    startup = CONTAINER["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 180  # as long as the image's own health check


def test_settings_exist_and_accepted_requests_are_answered_before_a_pod_is_killed() -> None:
    assert SET.keys() <= DEFAULTS.keys()
    assert Settings(**{field: SET[name] for field in Settings.model_fields if (name := environment_name(field)) in SET})
    seconds = float(SET["MARQUEE_REQUEST_TIMEOUT"]) + float(SET["MARQUEE_DRAIN_SECONDS"])
    assert POD["terminationGracePeriodSeconds"] > seconds
    keys = next(one["mountPath"] for one in CONTAINER["volumeMounts"] if one["name"] == "keys")
    assert Path(SET["MARQUEE_KEYS_PATH"]).parent == Path(keys)


def test_the_schemas_of_kubernetes_accept_the_manifest() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for document in MANIFEST.values():
        validator.validate(document, "1.31", strict=True)
    document = {**MANIFEST["Service"], "spec": {"prots": []}}
    with pytest.raises(validator.ValidationError):
        validator.validate(document, "1.31", strict=True)


# --- systemd ---


def test_the_unit_serves_where_the_proxies_look() -> None:
    settings = dict(one.split("=", 1) for line in in_unit("Environment") for one in line.split())
    assert {name for name in settings if name.startswith("MARQUEE_")} <= DEFAULTS.keys()
    address = f"{settings['MARQUEE_HOST']}:{settings['MARQUEE_PORT']}"
    assert f"server {address};" in NGINX
    assert f"reverse_proxy {address} {{" in CADDY
    assert settings["MARQUEE_TRUSTED_PROXIES"] == "1"
    (stop,) = in_unit("TimeoutStopSec")
    assert float(stop) > DEFAULTS["MARQUEE_REQUEST_TIMEOUT"] + DEFAULTS["MARQUEE_DRAIN_SECONDS"]
    (folder,) = in_unit("WorkingDirectory")
    assert in_unit("ReadWritePaths") == [f"{folder}/var"]
    assert not in_unit("MemoryDenyWriteExecute")


def test_systemd_accepts_the_unit_and_finds_it_confined(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    unit = tmp_path / "marquee.service"
    # It checks that the program exists.
    unit.write_text(UNIT.replace("/opt/marquee/.venv/bin/python", sys.executable), encoding="utf-8")
    verified = run(analyze, "verify", "--man=no", unit)
    assert (verified.returncode, [line for line in verified.stderr.splitlines() if "marquee" in line]) == (0, [])
    rated = run(analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", unit)  # in tenths: 2.0, "OK"
    assert rated.returncode == 0, rated.stdout[-500:] + rated.stderr
    unit.write_text(unit.read_text().replace("TimeoutStopSec=130", "TimeoutStopSec=soon"), encoding="utf-8")
    assert "Failed to parse time value" in run(analyze, "verify", "--man=no", unit).stderr


# --- proxies ---


def test_proxies_wait_as_long_as_the_service_and_take_as_much() -> None:
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", NGINX)
    (of_caddy,) = re.findall(r"response_header_timeout (\d+)s", CADDY)
    assert min(float(seconds), float(of_caddy)) > DEFAULTS["MARQUEE_REQUEST_TIMEOUT"]
    limits = re.findall(r"(?:client_max_body_size|max_size) (\d+)(m|MB)\b", NGINX + CADDY)
    assert len(limits) == 2
    assert all(int(size) * _UNITS[unit] > DEFAULTS["MARQUEE_MAX_BODY_BYTES"] for size, unit in limits)


def test_nginx_overwrites_every_header_that_the_service_trusts() -> None:
    for name in ("For", "Proto", "Host", "Prefix"):
        assert f"proxy_set_header X-Forwarded-{name} " in NGINX


def test_nginx_accepts_the_site(tmp_path: Path) -> None:
    nginx, openssl = tool("nginx"), tool("openssl")
    pair = ("-keyout", tmp_path / "key", "-out", tmp_path / "certificate")
    made = run(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1", *pair)
    assert made.returncode == 0, made.stderr
    site = NGINX.replace("/etc/ssl/certs/marquee.pem", str(tmp_path / "certificate"))
    site = site.replace("/etc/ssl/private/marquee.key", str(tmp_path / "key"))
    checked = run(nginx, "-t", "-q", "-c", _whole(tmp_path, site))
    assert (checked.returncode, checked.stderr) == (0, "")
    checked = run(nginx, "-t", "-q", "-c", _whole(tmp_path, site.replace("proxy_read_timeout", "proxy_reed_timeout")))
    assert 'unknown directive "proxy_reed_timeout"' in checked.stderr


def _whole(folder: Path, site: str) -> Path:
    """A configuration of nginx that includes a site and writes to a folder only."""
    (folder / "site.conf").write_text(re.sub(r":?\b(80|443)( ssl|;)", _above_1024, site), encoding="utf-8")
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    http = f"http {{ access_log off; {temporary} include {folder}/site.conf; }}"
    (folder / "nginx.conf").write_text(f"pid {folder}/pid; error_log stderr; events {{}} {http}", encoding="utf-8")
    return folder / "nginx.conf"


def _above_1024(found: re.Match[str]) -> str:
    """Ports that every user may bind: nginx -t binds them."""
    colon = ":" if found[0].startswith(":") else ""
    return f"{colon}{found[1]}80{found[2]}"


def test_caddy_accepts_the_site_in_its_own_format(tmp_path: Path) -> None:
    caddy = tool("caddy")
    checked = run(caddy, "validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile")
    assert checked.returncode == 0, checked.stderr
    assert run(caddy, "fmt", DEPLOY / "Caddyfile").stdout == CADDY
    wrong = tmp_path / "Caddyfile"
    wrong.write_text(CADDY.replace("dial_timeout", "dail_timeout"), encoding="utf-8")
    assert run(caddy, "validate", "--adapter", "caddyfile", "--config", wrong).returncode != 0

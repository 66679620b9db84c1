import sys; sys.path.insert(0,"benchmarks")
import json
from plan import SHAPES, CASES, config_of
from instil.plan.shape import read_shape
from instil.plan.need import Way, need
import subprocess, os
for name,c in CASES.items():
    way=Way(method=c.get("method","full"),precision=c.get("precision","bf16"),recompute=c.get("recompute",False),tokens=c["tokens"])
    n=need(read_shape(config_of(c["shape"])),way)
    p=n.total/2**20
    done=subprocess.run(["taskset","-c","0",sys.executable,"-W","ignore","benchmarks/plan.py","--case",json.dumps(c)],capture_output=True,text=True,env={**os.environ,"OMP_NUM_THREADS":"1"})
    m=json.loads(done.stdout)["peak_mib"] if done.returncode==0 else done.stderr[-200:]
    print(f"{name:28} predicted {p:7.0f} measured {m} {p/m if isinstance(m,int) else 0:.2f}",{k:round(getattr(n,k)/2**20) for k in ("weights","gradients","states","kept","passing","head")},flush=True)

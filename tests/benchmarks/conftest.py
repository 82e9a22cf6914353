from ..tiny import _tiny as _tiny
